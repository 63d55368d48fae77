"""The same recording again: its transcript is taken over where nothing would be different."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from core.errors import NotFound
from repositories.models import (
    DiarizationModel,
    DiarizationState,
    JobCreate,
    JobOptions,
    JobStatus,
    Source,
    Stage,
)
from services.reuse_service import ReuseService
from services.speaker_service import RequestedSpeakers
from tests.services.support import JOB, completed, unit_ids

WORDS = JobOptions(model="demo-en")
SPEAKERS = JobOptions(model="demo-en", diarize=True, min_speakers=2)
FOUND = DiarizationModel(state=DiarizationState.DONE, model="demo", min_speakers=2, warning="Demo.")


@pytest.fixture
def reuse(parts) -> ReuseService:
    return ReuseService(parts.settings, parts.jobs, parts.chunks, parts.store)


def a_source(job_id: str, sha256: str = "aa") -> Source:
    return Source(
        object=f"jobs/{job_id}/source", file_name=f"{job_id}.wav", size_bytes=1, sha256=sha256,
        format="wav", codec="pcm",
    )  # fmt: skip


def again(options: JobOptions = WORDS, owner: str = "ann", **fields) -> JobCreate:
    """The same recording as that of `earlier`."""
    source = a_source("again", fields.pop("sha256", "aa"))
    return JobCreate(id="again", owner=owner, options=options, source=source, **fields)


async def earlier(parts, **fields):
    """A completed job over these bytes."""
    defaults = {"options": WORDS, "diarization": None, "source": a_source(JOB)}
    return await completed(parts, **defaults | fields)


async def test_a_transcript_is_taken_over(parts, reuse):
    before = await earlier(parts, warnings=["Damaged."], duration=20.0)
    job = await reuse.finished(again())
    assert job == await parts.jobs.get_job("again")
    assert (job.status, job.stage, job.reused_from) == (JobStatus.COMPLETED, Stage.DONE, JOB)
    assert job.source.file_name == "again.wav"
    assert (job.duration, job.warnings) == (20.0, ["Damaged."])
    assert job.finished_at >= job.created_at
    assert job.result == before.result.model_copy(update={"object": job.result.object})
    values = json.loads(await parts.store.read(job.result.object))
    old = json.loads(await parts.store.read(before.result.object))
    assert values == old | {"job_id": "again"}
    assert await unit_ids(parts, "again") == []


async def test_it_outlives_the_task_that_it_was_taken_from(parts, reuse):
    await earlier(parts)
    await reuse.finished(again())
    await parts.tasks.delete_task("ann", JOB)
    _, transcript = await parts.tasks.get_task_result("ann", "again")
    assert transcript["job_id"] == "again"


async def test_its_speakers_can_be_asked_for_again(parts, reuse):
    """The words of each chunk have been taken over, too."""
    await earlier(parts)
    await reuse.finished(again())
    copied = await parts.chunks.get_chunks("again")
    originals = await parts.chunks.get_chunks(JOB)
    assert [chunk.segments for chunk in copied] == [chunk.segments for chunk in originals]
    await parts.speakers.rediarize("ann", "again", RequestedSpeakers())
    assert await unit_ids(parts, "again") == ["diarize-1"]


async def test_the_time_that_it_is_kept_begins_now(parts, reuse):
    await earlier(parts, expires_at=None)
    job = await reuse.finished(again(keep_hours=2.0))
    assert job.expires_at - job.finished_at == timedelta(hours=2)


async def test_names_that_people_gave_belong_to_the_other_task(parts, reuse):
    await earlier(parts, options=SPEAKERS, diarization=FOUND, speaker_names={"SPEAKER_00": "Ann"})
    job = await reuse.finished(again(SPEAKERS))
    assert (job.speaker_names, job.all_warnings) == ({}, ["Demo."])


@pytest.mark.parametrize(
    "fields",
    [
        {"owner": "bob"},
        {"sha256": "bb"},
        {"options": WORDS.model_copy(update={"language": "de"})},
        {"options": WORDS.model_copy(update={"word_timestamps": False})},
        {"options": SPEAKERS},
    ],
    ids=str,
)
async def test_anothers_or_another_is_not_taken_over(parts, reuse, fields):
    await earlier(parts)
    assert await reuse.finished(again(**fields)) is None
    assert await parts.jobs.get_job("again") is None


@pytest.mark.parametrize(
    ("options", "fields"),
    [
        (WORDS, {"status": JobStatus.PROCESSING}),
        (WORDS, {"diarization": FOUND}),  # asked for afterwards
        (SPEAKERS, {"diarization": FOUND.model_copy(update={"state": DiarizationState.FAILED})}),
        (SPEAKERS, {"diarization": FOUND.model_copy(update={"min_speakers": 3})}),
        (SPEAKERS, {"diarization": FOUND.model_copy(update={"model": "another"})}),
    ],
    ids=["unfinished", "with speakers", "speakers failed", "other numbers", "other pipeline"],
)
async def test_what_would_be_different_now_is_not_taken_over(parts, reuse, options, fields):
    await earlier(parts, options=options, **fields)
    assert await reuse.finished(again(options)) is None


async def test_a_transcript_with_gaps_is_not_taken_over(parts, reuse):
    await earlier(parts)
    await parts.database.get_collection("jobs").update_one(
        {"_id": JOB}, {"$set": {"result.gaps": 1}}
    )
    assert await reuse.finished(again()) is None


async def test_a_transcript_that_is_being_deleted_is_not_taken_over(parts, reuse):
    job = await earlier(parts)
    await parts.store.delete(job.result.object)
    with pytest.raises(NotFound):
        await parts.store.read(job.result.object)
    assert await reuse.finished(again()) is None


async def test_it_can_be_switched_off(parts, reuse, monkeypatch):
    await earlier(parts)
    monkeypatch.setattr(parts.settings, "reuse_transcripts", False)
    assert await reuse.finished(again()) is None
