"""The merge: words get their speakers, names stay with the voices that they were given to."""

from __future__ import annotations

import asyncio

import pytest

from repositories.models import (
    DiarizationModel,
    DiarizationState,
    JobOptions,
    JobStatus,
    Stage,
    UnitKind,
)
from services.speaker_service import RequestedSpeakers
from tests.services.support import (
    ANN_THEN_BO,
    JOB,
    StandInDiarizer,
    a_unit,
    completed,
    kept,
    put_audio,
    put_turns,
    store_chunks,
    stored,
)
from worker.transcript import SpeakerTurn

MERGE = a_unit(UnitKind.MERGE)
TURNS = f"jobs/{JOB}/diarization-2-new.json"
# The engine has other names for them and hears a third person first.
SOMEBODY_ANN_BO = [
    SpeakerTurn(0.0, 1.2, "x"), SpeakerTurn(1.2, 9.0, "y"), SpeakerTurn(9.5, 20.0, "z"),
]  # fmt: skip
BO_ALONE = [SpeakerTurn(8.0, 20.0, "all")]
NOBODY: list[SpeakerTurn] = []


async def transcript(parts) -> dict:
    _, values = await parts.tasks.get_task_result("ann", JOB)
    return values


def words_of(values: dict) -> list[tuple[str, str | None]]:
    return [(word["word"], word["speaker"]) for s in values["segments"] for word in s["words"]]


def settled(**fields) -> DiarizationModel:
    return DiarizationModel(**{"state": DiarizationState.DONE, "object": TURNS} | fields)


async def rediarized(parts, turns, **fields) -> None:
    """Put a completed job into the database whose speakers have just been found again."""
    again = {"status": JobStatus.PROCESSING, "stage": Stage.MERGE, "finished_at": None}
    await completed(parts, diarization=settled(revision=2), **again | fields)
    await put_turns(parts, TURNS, turns)


async def test_words_and_segments_have_speakers(parts):
    diarization = settled(warning="Told apart by the demo.", model="demo")
    await stored(parts, stage=Stage.MERGE, diarization=diarization, warnings=["Damaged."])
    await store_chunks(parts)
    await put_turns(parts, TURNS, ANN_THEN_BO)
    await parts.merging.merge(MERGE)

    values = await transcript(parts)
    assert words_of(values) == [
        ("Good", "SPEAKER_00"), ("morning.", "SPEAKER_00"),
        ("Thank", "SPEAKER_01"), ("you.", "SPEAKER_01"),
    ]  # fmt: skip
    assert [s["speaker"] for s in values["segments"]] == ["SPEAKER_00", "SPEAKER_01"]
    assert [s["label"] for s in values["speakers"]] == ["Speaker 1", "Speaker 2"]
    assert [turn["speaker"] for turn in values["turns"]] == ["SPEAKER_00", "SPEAKER_01"]
    assert values["models"] == {"transcription": "demo-en", "diarization": "demo"}
    assert values["warnings"] == ["Damaged.", "Told apart by the demo."]
    job = await parts.jobs.get_job(JOB)
    assert (job.status, job.stage) == (JobStatus.COMPLETED, Stage.DONE)
    assert [(s.id, s.speech_seconds) for s in job.result.speakers] == [
        ("SPEAKER_00", 10.0), ("SPEAKER_01", 10.0),
    ]  # fmt: skip
    assert await kept(parts) == [job.result.object.rpartition("/")[2]]


async def test_without_turns_there_are_words_alone_and_a_reason(parts):
    failed = DiarizationModel(state=DiarizationState.FAILED, warning="No labels: it crashed.")
    await stored(parts, stage=Stage.MERGE, diarization=failed)
    await store_chunks(parts)
    await parts.merging.merge(MERGE)

    values = await transcript(parts)
    assert words_of(values) == [(w, None) for w in ("Good", "morning.", "Thank", "you.")]
    assert (values["speakers"], values["turns"]) == ([], [])
    assert values["models"] == {"transcription": "demo-en"}
    assert values["warnings"] == ["No labels: it crashed."]
    assert (await parts.jobs.get_job(JOB)).result.speakers == []


@pytest.mark.parametrize(
    ("turns", "names", "carried"),
    [
        (ANN_THEN_BO, {"SPEAKER_00": "Ann", "SPEAKER_01": "Bo"}, ["Ann", "Bo"]),
        (SOMEBODY_ANN_BO, {"SPEAKER_00": "Ann", "SPEAKER_01": "Bo"}, ["Speaker 1", "Ann", "Bo"]),
        (SOMEBODY_ANN_BO, {"SPEAKER_01": "Bo"}, ["Speaker 1", "Speaker 2", "Bo"]),
        (BO_ALONE, {"SPEAKER_00": "Ann", "SPEAKER_01": "Bo"}, ["Bo"]),
        (NOBODY, {"SPEAKER_00": "Ann"}, []),
        (ANN_THEN_BO, {}, ["Speaker 1", "Speaker 2"]),
    ],
)
async def test_names_stay_with_their_voices(parts, turns, names, carried):
    await rediarized(parts, turns, speaker_names=names)
    await parts.merging.merge(MERGE)

    assert [speaker["label"] for speaker in (await transcript(parts))["speakers"]] == carried
    job = await parts.jobs.get_job(JOB)
    assert sorted(job.speaker_names.values()) == sorted(set(carried) & set(names.values()))
    assert set(job.speaker_names) <= {speaker.id for speaker in job.result.speakers}


async def test_the_new_transcript_takes_the_place_of_the_old_one(parts):
    await rediarized(parts, BO_ALONE)
    await parts.merging.merge(MERGE)
    job = await parts.jobs.get_job(JOB)
    assert await kept(parts) == [job.result.object.rpartition("/")[2]]
    assert not job.result.object.endswith("transcript-old.json")
    assert job.finished_at is not None
    assert [word for word, _ in words_of(await transcript(parts))] == [
        "Good", "morning.", "Thank", "you.",
    ]  # fmt: skip


async def test_a_merge_that_runs_twice_leaves_one_transcript(parts):
    await rediarized(parts, BO_ALONE)
    await asyncio.gather(*(parts.merging.merge(MERGE) for _ in range(3)), return_exceptions=True)
    await parts.merging.merge(MERGE)
    job = await parts.jobs.get_job(JOB)
    assert job.status is JobStatus.COMPLETED
    assert await kept(parts) == [job.result.object.rpartition("/")[2]]
    assert [s["id"] for s in (await transcript(parts))["speakers"]] == ["SPEAKER_00"]


async def test_a_job_deleted_during_the_merge_leaves_nothing(parts, monkeypatch):
    await rediarized(parts, ANN_THEN_BO)
    read = parts.chunks.get_chunks

    async def deleted_meanwhile(job_id):
        found = await read(job_id)
        await parts.tasks.delete_task("ann", JOB)
        await put_turns(parts, TURNS, ANN_THEN_BO)  # it had been read already
        return found

    monkeypatch.setattr(parts.chunks, "get_chunks", deleted_meanwhile)
    await parts.merging.merge(MERGE)
    assert await kept(parts) == []
    assert await parts.jobs.get_job(JOB) is None


async def test_words_left_out_of_the_transcript_still_tell_speakers_apart(parts):
    options = JobOptions(model="demo-en", diarize=True, word_timestamps=False)
    await rediarized(parts, ANN_THEN_BO, options=options)
    await parts.merging.merge(MERGE)
    segments = (await transcript(parts))["segments"]
    assert [segment["speaker"] for segment in segments] == ["SPEAKER_00", "SPEAKER_01"]
    assert not any("words" in segment for segment in segments)


async def test_names_given_asked_again_found_again(parts, short_wav):
    """The whole way: a transcript, names, another diarization, and another after that."""
    await stored(parts, stage=Stage.MERGE, diarization=settled())
    await store_chunks(parts)
    await put_turns(parts, TURNS, ANN_THEN_BO)
    await put_audio(parts, short_wav, "source")
    await parts.merging.merge(MERGE)
    await parts.speakers.name_speakers("ann", JOB, {"SPEAKER_00": "Ann", "SPEAKER_01": "Bo"})

    labels = []
    for revision, turns in ((2, SOMEBODY_ANN_BO), (3, ANN_THEN_BO)):
        asked = await parts.speakers.rediarize("ann", JOB, RequestedSpeakers())
        assert asked.diarization.revision == revision
        diarize = a_unit(UnitKind.DIARIZE, revision=revision)
        before = await transcript(parts)
        assert [s["label"] for s in before["speakers"]] == (labels or ["Ann", "Bo"])
        await parts.diarization.diarize(diarize, StandInDiarizer(turns))
        await parts.merging.merge(MERGE)
        after = await transcript(parts)
        labels = [speaker["label"] for speaker in after["speakers"]]
        assert [word for word, _ in words_of(after)] == [word for word, _ in words_of(before)]
        assert labels == (["Speaker 1", "Ann", "Bo"] if revision == 2 else ["Ann", "Bo"])
    names = await kept(parts)
    assert len(names) == 2
    assert names[0] == "source"
