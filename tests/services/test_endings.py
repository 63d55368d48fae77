"""How jobs end without being completed, and what stays of them."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from core.clock import utc_now
from core.errors import StorageUnavailable
from repositories.models import (
    ChunkStatus,
    DiarizationModel,
    DiarizationState,
    JobStatus,
    Stage,
    UnitKind,
)
from tests.services.support import (
    CRASHED,
    JOB,
    claimed,
    completed,
    kept,
    put,
    statuses,
    store_chunks,
    stored,
    unit_ids,
)

DONE, PENDING, FAILED = ChunkStatus.DONE, ChunkStatus.PENDING, ChunkStatus.FAILED
OPEN = [JobStatus.PENDING, JobStatus.PROCESSING]
TERMINAL = sorted(status for status in JobStatus if status.is_terminal)
AGAIN = {"status": JobStatus.PROCESSING, "stage": Stage.DIARIZE, "finished_at": None}


async def working(parts, **fields):
    """A job that is being worked on, with everything stored that there may be."""
    job = await stored(parts, **fields)
    await store_chunks(parts, (DONE, PENDING))
    await parts.dispatcher.transcribe(job, [1])
    for name in ("source", "audio.wav"):
        await put(parts, f"jobs/{JOB}/{name}", name)
    return job


@pytest.mark.parametrize("status", OPEN)
async def test_a_failed_job_says_why_and_keeps_what_was_heard(parts, endings, status):
    job = await working(parts, status=status)
    held = await claimed(parts, UnitKind.TRANSCRIBE)
    before = utc_now()
    await endings.fail(job, CRASHED)
    ended = await parts.jobs.get_job(JOB)
    assert (ended.status, ended.error) == (JobStatus.FAILED, CRASHED)
    assert before <= ended.finished_at <= utc_now()
    assert ended.expires_at is None
    assert not await parts.units.renew(held, 60), "its holder notices"
    assert await statuses(parts) == [DONE, PENDING]
    assert await kept(parts) == ["source"]


@pytest.mark.parametrize("status", OPEN)
async def test_a_cancelled_job_keeps_its_upload(parts, endings, status):
    await endings.cancel(await working(parts, status=status))
    ended = await parts.jobs.get_job(JOB)
    assert (ended.status, ended.error) == (JobStatus.CANCELLED, None)
    assert await unit_ids(parts) == []
    assert await kept(parts) == ["source"]


@pytest.mark.parametrize("hours", [0.5, 48.0])
async def test_the_time_that_it_is_kept_counts_from_its_end(parts, endings, hours):
    await endings.cancel(await working(parts, keep_hours=hours))
    ended = await parts.jobs.get_job(JOB)
    assert ended.expires_at - ended.finished_at == timedelta(hours=hours)


@pytest.mark.parametrize("status", TERMINAL)
async def test_what_has_ended_does_not_end_again(parts, endings, status):
    before = await stored(parts, status=status)
    seen = before.model_copy(update={"status": JobStatus.PROCESSING})  # when they looked
    await endings.fail(seen, CRASHED)
    await endings.cancel(seen)
    assert await parts.jobs.get_job(JOB) == before


async def test_of_many_endings_at_once_one_counts(parts, endings):
    job = await working(parts)
    await asyncio.gather(
        *(endings.fail(job, CRASHED) if at % 2 else endings.cancel(job) for at in range(10))
    )
    ended = await parts.jobs.get_job(JOB)
    assert (ended.status is JobStatus.FAILED) == (ended.error == CRASHED)
    assert ended.status in (JobStatus.FAILED, JobStatus.CANCELLED)


@pytest.mark.parametrize("end", ["fail", "cancel"])
async def test_a_job_that_is_worked_on_again_keeps_the_transcript_that_it_has(parts, endings, end):
    asked = DiarizationModel(revision=2)
    job = await completed(parts, diarization=asked, speaker_names={"SPEAKER_00": "Ann"}, **AGAIN)
    await parts.dispatcher.diarize(job)
    if end == "fail":
        await endings.fail(job, CRASHED)
    else:
        await endings.cancel(job)
    ended = await parts.jobs.get_job(JOB)
    assert (ended.status, ended.stage, ended.error) == (JobStatus.COMPLETED, Stage.DONE, None)
    assert (ended.result, ended.speaker_names) == (job.result, job.speaker_names)
    assert ended.diarization.state is DiarizationState.FAILED
    reason = CRASHED.message if end == "fail" else "It was cancelled."
    assert reason in ended.all_warnings[-1]
    assert await unit_ids(parts) == []
    assert "transcript-old.json" in await kept(parts)


async def test_gaps_that_were_tried_again_in_vain_can_be_tried_once_more(parts, endings):
    with_gap = {"status": JobStatus.COMPLETED, "diarization": None}
    job = await completed(parts, **with_gap)
    gap = {"result.gaps": 1}
    await parts.database.get_collection("jobs").update_one({"_id": JOB}, {"$set": gap})
    await parts.chunks.delete_chunks(JOB)
    await store_chunks(parts, (DONE, FAILED))
    again = await parts.tasks.retry_task("ann", JOB)
    await endings.cancel(again)
    ended = await parts.jobs.get_job(JOB)
    assert (ended.status, ended.result.object) == (JobStatus.COMPLETED, job.result.object)
    assert "Trying again failed" in ended.all_warnings[0]
    assert await statuses(parts) == [DONE, FAILED]
    assert (await parts.tasks.retry_task("ann", JOB)).status is JobStatus.PENDING
    assert await parts.chunks.pending_indexes(JOB) == [1]


@pytest.mark.parametrize("status", sorted(JobStatus))
async def test_deleting_leaves_nothing(parts, endings, status):
    job = await working(parts, status=status)
    other = await stored(parts, "job-2")
    await parts.dispatcher.merge(other)
    await put(parts, "jobs/job-2/source", "another's")
    await endings.delete(job)
    assert await parts.jobs.get_job(JOB) is None
    assert await unit_ids(parts) == []
    assert await parts.chunks.count(JOB) == 0
    assert [stat.key for stat in await parts.store.list("jobs/")] == ["jobs/job-2/source"]
    assert await unit_ids(parts, "job-2") == ["merge"]
    assert await parts.jobs.get_job("job-2") == other


async def test_a_deletion_that_was_interrupted_can_be_finished(parts, endings, monkeypatch):
    job = await working(parts)

    async def away(_):
        raise StorageUnavailable("Away.")

    with monkeypatch.context() as broken:
        broken.setattr(parts.store, "delete_prefix", away)
        with pytest.raises(StorageUnavailable):
            await endings.delete(job)
    left = await parts.jobs.get_job(JOB)
    assert left.status is JobStatus.CANCELLED, "nobody works on it meanwhile"
    await endings.delete(left)
    assert await parts.jobs.get_job(JOB) is None
    assert await kept(parts) == []
