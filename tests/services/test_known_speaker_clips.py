"""Clips of known speakers: what is refused, what is kept, and for how long."""

from __future__ import annotations

import io
import json
import os
import wave
from pathlib import Path

import numpy as np
import pytest

from core.errors import InvalidInput
from core.messaging import DIARIZATION_QUEUE
from repositories.models import DiarizationModel, DiarizationState, JobStatus, Stage, UnitKind
from services.known_speakers import KnownSpeaker, check_names, digest_clips
from services.lifecycle import is_complete, known_speaker_key
from services.speaker_service import RequestedSpeakers
from services.upload_service import Accepted, RequestedOptions, Upload
from tests.conftest import ROOT
from tests.services.support import (
    ANN_THEN_BO,
    JOB,
    StandInDiarizer,
    a_unit,
    completed,
    kept,
    put_audio,
    store_chunks,
    stored,
)
from worker.transcript import VoiceMatch

VOICES = ROOT / "tests" / "data" / "voices"
LAURA, HENRY = (VOICES / f"{name}.opus" for name in ("laura", "henry"))
RATE = 16_000


def people(**clips: Path | bytes) -> tuple[KnownSpeaker, ...]:
    return tuple(
        KnownSpeaker(name, clip if isinstance(clip, bytes) else clip.read_bytes())
        for name, clip in clips.items()
    )


def a_wav(samples: np.ndarray) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setparams((1, 2, RATE, 0, "NONE", ""))
        out.writeframes(samples.astype("<i2").tobytes())
    return file.getvalue()


def speech(seconds: float) -> bytes:
    """So much of what the sample's people say, as WAV."""
    with wave.open(str(ROOT / "samples" / "meeting.wav")) as file:
        return a_wav(np.frombuffer(file.readframes(round(seconds * RATE)), "<i2"))


async def upload(parts, recording: Path, key: str | None = None, **options) -> Accepted:
    with recording.open("rb") as file:
        asked = RequestedOptions(**{"diarize": True, "reuse": False} | options)
        return await parts.uploads.create_task("ann", Upload(file, "a.wav"), asked, key)


async def names_stored(parts, job_id: str = "") -> list[str]:
    return [stat.key.rpartition("/")[2] for stat in await parts.store.list(f"jobs/{job_id}")]


async def refusal(parts, recording: Path, *known: KnownSpeaker, **options) -> InvalidInput:
    """The error of an upload that has to leave nothing behind."""
    with pytest.raises(InvalidInput) as refused:
        await upload(parts, recording, known_speakers=known, **options)
    assert await names_stored(parts) == []
    assert await parts.database.get_collection("jobs").count_documents({}) == 0
    return refused.value


# --- Names


@pytest.mark.parametrize(
    "names",
    [
        [""],
        [" \t"],
        ["Ann\nBo"],
        ["A\x00nn"],
        ["A\x1bnn"],
        ["A\x85nn"],
        ["A\u2028nn"],
        ["\ud800"],
        ["x" * 101],
        ["Ann", "Bo", " Ann "],
        [f"{number}" for number in range(17)],
    ],
    ids=lambda names: repr(names)[:30],
)
def test_names_that_cannot_be_used(names):
    with pytest.raises(InvalidInput) as refused:
        check_names(names, diarize=True)
    assert refused.value.error_code == "invalid_known_speakers"


def test_names_are_shown_as_they_are_written():
    names = ["Zoë O'Neill-Łuc", "李雷", " علی\u200cرضا ", "x" * 100]  # noqa: RUF001
    assert check_names(names, diarize=True) == [name.strip() for name in names]
    assert check_names([], diarize=False) == []


async def test_without_diarization_they_are_refused(parts, short_wav):
    error = await refusal(parts, short_wav, *people(Laura=LAURA), diarize=False)
    assert error.error_code == "invalid_known_speakers"
    assert "diarize=true" in error.message


# --- Clips that cannot be used

UNUSABLE = {
    "empty": (b"", "empty_file"),
    "no sound": (b"these are notes\n" * 500, "unsupported_media"),
    "too short": (speech(0.9), "audio_too_short"),
    "too long": (speech(31), "audio_too_long"),
    "silent": (a_wav(np.zeros(5 * RATE)), "no_speech"),
    "noise": (a_wav(np.random.default_rng(1).normal(0, 300, 5 * RATE)), "no_speech"),
    "cut off": (speech(20)[:200_000], "truncated_audio"),
    "too large": (bytes(10 * 1024**2 + 1), "file_too_large"),
}


@pytest.mark.parametrize("bad", UNUSABLE)
async def test_a_clip_that_cannot_be_used_is_named_and_nothing_is_stored(parts, short_wav, bad):
    clip, reason = UNUSABLE[bad]
    error = await refusal(parts, short_wav, *people(Laura=LAURA, Bo=clip, Henry=HENRY))
    assert error.error_code == "invalid_known_speaker_clip"
    assert error.details == {"speaker": "Bo", "reason": reason}
    assert error.message.startswith("The clip of known speaker 'Bo' cannot be used: ")
    assert "MAX_DURATION" not in error.message
    assert list(parts.settings.temp_dir.iterdir()) == []


# --- What is kept


async def test_clips_are_kept_in_the_form_that_the_engine_reads(parts, short_wav):
    known = people(**{" Laura ": LAURA, "Henry": speech(30)})
    job = (await upload(parts, short_wav, known_speakers=known)).job
    assert job.options.known_speakers == ["Laura", "Henry"]
    assert await names_stored(parts, job.id) == [
        "known-speaker-0.wav",
        "known-speaker-1.wav",
        "source",
    ]
    clip = await parts.store.read(f"jobs/{job.id}/known-speaker-1.wav")
    with wave.open(io.BytesIO(clip)) as file:
        assert file.getparams()[:4] == (1, 2, RATE, 30 * RATE)
    assert list(parts.settings.temp_dir.iterdir()) == []


async def test_a_clip_may_be_an_open_file_at_any_place(parts, short_wav):
    with LAURA.open("rb") as clip:
        clip.seek(1000)
        known = (KnownSpeaker("Laura", clip),)
        from_file = (await upload(parts, short_wav, known_speakers=known)).job
    from_bytes = (await upload(parts, short_wav, known_speakers=people(Laura=LAURA))).job
    assert from_file.options == from_bytes.options
    clips = [
        await parts.store.read(f"jobs/{job.id}/known-speaker-0.wav")
        for job in (from_file, from_bytes)
    ]
    assert clips[0] == clips[1]


async def test_when_the_recording_cannot_be_stored_the_clips_are_not_kept(
    parts, short_wav, monkeypatch
):
    put, stored_before = parts.store.put, []

    async def full(key, *rest):
        if key.endswith("/source"):
            stored_before.extend(await names_stored(parts))
            raise InvalidInput("No room.")
        await put(key, *rest)

    monkeypatch.setattr(parts.store, "put", full)
    error = await refusal(parts, short_wav, *people(Laura=LAURA))
    assert (error.message, stored_before) == ("No room.", ["known-speaker-0.wav"])


async def test_the_sweep_leaves_them_and_nothing_else(parts, short_wav):
    known = {"known_speakers": ["Laura", "Henry"]}
    options = (await stored(parts, "template")).options.model_copy(update=known)
    found = DiarizationModel(state=DiarizationState.DONE)
    await completed(parts, options=options, diarization=found)
    names = ["known-speaker-0.wav", "known-speaker-1.wav", "source", "transcript-old.json"]
    for name in (*names[:3], "known-speaker-2.wav", "audio.wav"):
        await put_audio(parts, short_wav, name)
    for path in (parts.settings.objects_dir / "jobs" / JOB).iterdir():
        os.utime(path, (0, 0))
    await parts.upkeep.sweep()
    assert await kept(parts) == names


def test_a_finished_task_with_its_clips_needs_no_closer_look():
    clips = [known_speaker_key(JOB, number) for number in range(2)]
    assert is_complete([*clips, f"jobs/{JOB}/source", f"jobs/{JOB}/transcript-x.json"])
    assert not is_complete([*clips, f"jobs/{JOB}/source", f"jobs/{JOB}/audio.wav"])


async def test_deleted_with_the_task(parts, short_wav):
    job = (await upload(parts, short_wav, known_speakers=people(Laura=LAURA))).job
    await parts.tasks.delete_task("ann", job.id)
    assert await names_stored(parts) == []


# --- Other clips are another request


def test_a_digest_is_of_the_bytes():
    one, same, other = people(a=LAURA, b=LAURA, c=HENRY)
    assert digest_clips([one]) == digest_clips([same])
    assert digest_clips([one]) != digest_clips([other])


async def test_a_key_stands_for_the_clips_too(parts, short_wav):
    laura = people(Laura=LAURA)
    first = await upload(parts, short_wav, "k", known_speakers=laura)
    again = await upload(parts, short_wav, "k", known_speakers=laura)
    assert (again.is_replay, again.job.id) == (True, first.job.id)
    for other in (people(Laura=HENRY), people(Henry=LAURA), ()):
        with pytest.raises(InvalidInput) as refused:
            await upload(parts, short_wav, "k", known_speakers=other)
        assert refused.value.error_code == "idempotency_key_reused"


async def test_a_transcript_is_taken_over_for_the_same_clips_alone(parts, short_wav, monkeypatch):
    laura = people(Laura=LAURA)
    done = await finish(parts, (await upload(parts, short_wav, known_speakers=laura)).job.id)

    async def again(known) -> str | None:
        accepted = await upload(parts, short_wav, known_speakers=known, reuse=True)
        return accepted.job.reused_from

    assert await again(laura) == done
    assert await again(people(Laura=HENRY)) is None
    assert await again(people(Ann=LAURA)) is None
    assert await again(()) is None
    monkeypatch.setattr(parts.settings, "known_speaker_threshold", 0.9)
    assert await again(laura) is None, "another threshold finds others"


async def test_a_task_that_took_a_transcript_over_has_the_clips_to_look_again(parts, short_wav):
    laura = people(Laura=LAURA)
    await finish(parts, (await upload(parts, short_wav, known_speakers=laura)).job.id)
    taken = (await upload(parts, short_wav, known_speakers=laura, reuse=True)).job
    assert "known-speaker-0.wav" in await names_stored(parts, taken.id)


async def finish(parts, job_id: str) -> str:
    """What consumers do with a task, in short: its words and speakers are those of `completed`."""
    await completed(parts)
    job = await parts.jobs.get_job(job_id)
    values = {
        "status": JobStatus.COMPLETED.value,
        "stage": Stage.DONE.value,
        "result": (await parts.jobs.get_job(JOB)).to_dict()["result"],
        "diarization": DiarizationModel(
            state=DiarizationState.DONE,
            model="demo",
            threshold=parts.settings.known_speaker_threshold,
        ).to_dict(),
    }
    await parts.database.get_collection("jobs").update_one({"_id": job.id}, {"$set": values})
    return job.id


# --- The diarization stage


async def test_the_engine_hears_the_clips_and_what_it_finds_is_in_the_transcript(parts, short_wav):
    known = people(Laura=LAURA, Henry=HENRY)
    uploaded = (await upload(parts, short_wav, known_speakers=known)).job
    await stored(parts, options=uploaded.options, diarization=DiarizationModel())
    await store_chunks(parts)
    await put_audio(parts, short_wav)
    for number in range(2):
        clip = await parts.store.read(f"jobs/{uploaded.id}/known-speaker-{number}.wav")
        key = f"jobs/{JOB}/known-speaker-{number}.wav"
        await parts.store.put(key, io.BytesIO(clip), len(clip), "audio/wav")
    voices = [VoiceMatch("ann", None, 0.25), VoiceMatch("bo", "Henry", 0.75)]
    diarizer = StandInDiarizer(ANN_THEN_BO, voices=voices)

    await parts.diarization.diarize(
        a_unit(UnitKind.DIARIZE, revision=1, queue=DIARIZATION_QUEUE), diarizer
    )
    await parts.merging.merge(a_unit(UnitKind.MERGE))

    (heard,) = diarizer.known
    assert list(heard) == ["Laura", "Henry"]
    assert {shape[:2] for shape in heard.values()} == {(RATE, 1)}
    job, transcript = await parts.tasks.get_task_result("ann", JOB)
    assert job.diarization.threshold == parts.settings.known_speaker_threshold
    unknown, henry = transcript["speakers"]
    assert (unknown["label"], unknown["known"], unknown["similarity"]) == ("Unknown 1", False, 0.25)
    assert (henry["label"], henry["known"], henry["similarity"]) == ("Henry", True, 0.75)
    shown = [speaker.model_dump() for speaker in job.result.speakers]
    assert json.loads(json.dumps(shown)) == transcript["speakers"]
    assert await kept(parts) == [
        "known-speaker-0.wav",
        "known-speaker-1.wav",
        job.result.object.rpartition("/")[2],
    ]

    await put_audio(parts, short_wav, "source")
    await parts.speakers.name_speakers("ann", JOB, {"SPEAKER_01": "Harry"})
    await parts.speakers.rediarize("ann", JOB, RequestedSpeakers(num_speakers=2))
    await parts.diarization.diarize(
        a_unit(UnitKind.DIARIZE, revision=2, queue=DIARIZATION_QUEUE), diarizer
    )
    await parts.merging.merge(a_unit(UnitKind.MERGE))
    assert diarizer.known[1] == heard, "looking again, the same people are looked for"
    _, transcript = await parts.tasks.get_task_result("ann", JOB)
    assert [s["label"] for s in transcript["speakers"]] == ["Unknown 1", "Harry"]


async def test_where_nobody_is_known_nobody_is_looked_for(parts, short_wav):
    await stored(parts)
    await put_audio(parts, short_wav)
    diarizer = StandInDiarizer(ANN_THEN_BO)
    await parts.diarization.diarize(
        a_unit(UnitKind.DIARIZE, revision=1, queue=DIARIZATION_QUEUE), diarizer
    )
    assert diarizer.known == [None]
    assert (await parts.jobs.get_job(JOB)).diarization.threshold is None
