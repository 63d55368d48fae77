"""What a failed attempt means: another one, a smaller one, a gap, or the end of the job."""

from __future__ import annotations

import errno
import os
from datetime import timedelta
from types import SimpleNamespace

import pytest

from core.clock import utc_now
from core.errors import Misconfigured, NotFound, QueueUnavailable, StorageUnavailable
from repositories.models import ChunkStatus, JobStatus, Stage, UnitKind, UnitState
from services import failure_service
from tests.services.support import (
    JOB,
    claimed,
    kept,
    put,
    statuses,
    store_chunks,
    stored,
    unit_ids,
)
from worker.errors import EngineFailed, EngineMissing, InvalidAudio

DONE, PENDING, FAILED = ChunkStatus.DONE, ChunkStatus.PENDING, ChunkStatus.FAILED
CRASH = EngineFailed("whisper-cli crashed.", code="transcription_failed")
AWAY = StorageUnavailable("MinIO cannot be reached.")
MISSING = EngineMissing("whisper-cli is missing.")
INVALID = InvalidAudio("This is no recording.", code="not_audio")
FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
MAY_PASS = [CRASH, AWAY, QueueUnavailable("Away."), RuntimeError("odd"), FULL]


async def transcribing(parts, chunks: int):
    """A job with so many chunks to transcribe, all in one unit, which we have claimed."""
    job = await stored(parts, diarization=None, duration=10.0 * chunks)
    await store_chunks(parts, (PENDING,) * chunks)
    await parts.units.add("ann", [parts.dispatcher.batch(job, range(chunks))])
    return await claimed(parts, UnitKind.TRANSCRIBE)


async def preparing(parts):
    job = await stored(parts, stage=Stage.PREPARE, diarization=None)
    await parts.dispatcher.prepare(job)
    return await claimed(parts, UnitKind.PREPARE)


def worn(unit, parts):
    """The unit at its last attempt."""
    return unit.model_copy(update={"failures": parts.settings.job_max_attempts - 1})


async def settle_again_and_again(parts, unit, error) -> None:
    """Claim and fail, as consumers do, until nothing of this kind is left to do."""
    for _ in range(100):
        await parts.failures.settle(unit, error)
        await parts.database.get_collection("units").update_many({}, {"$set": {"not_before": 0}})
        try:
            unit = await claimed(parts, unit.kind)
        except AssertionError:
            return
    raise AssertionError("it never ends")


@pytest.mark.parametrize("error", MAY_PASS, ids=lambda error: type(error).__name__)
async def test_what_may_pass_is_tried_again_later(parts, error):
    unit = await preparing(parts)
    before = await parts.jobs.get_job(JOB)
    await parts.failures.settle(unit, error)
    (left,) = await parts.units.get_units(JOB)
    assert (left.state, left.failures, left.holder) == (UnitState.OPEN, 1, None)
    assert left.last_error.retryable
    assert left.last_error.message
    assert await parts.jobs.get_job(JOB) == before


@pytest.mark.parametrize(("failures", "seconds"), [(0, 2), (1, 6), (2, 18), (3, 54)])
async def test_pauses_grow_and_are_spread(parts, failures, seconds):
    unit = (await preparing(parts)).model_copy(update={"failures": failures})
    now = utc_now()
    await parts.failures.settle(unit, AWAY)
    (left,) = await parts.units.get_units(JOB)
    pause = (left.not_before - now) / timedelta(seconds=1)
    assert 0.5 * seconds - 0.1 <= pause <= 1.5 * seconds + 1


@pytest.mark.parametrize(
    ("error", "code"),
    [(AWAY, "storage_unavailable"), (CRASH, "transcription_failed"), (FULL, "disk_full"),
     (RuntimeError("secret detail"), "internal_error")],
)  # fmt: skip
async def test_after_the_last_attempt_the_job_fails_with_the_reason(parts, error, code):
    unit = worn(await preparing(parts), parts)
    await put(parts, f"jobs/{JOB}/audio.wav", "large")
    await put(parts, f"jobs/{JOB}/source", "kept")
    await parts.failures.settle(unit, error)
    job = await parts.jobs.get_job(JOB)
    assert (job.status, job.error.code) == (JobStatus.FAILED, code)
    assert "secret" not in job.error.message
    assert job.finished_at is not None
    assert await unit_ids(parts) == []
    assert await kept(parts) == ["source"]


@pytest.mark.parametrize("error", [INVALID, MISSING, NotFound("Gone."), Misconfigured("Wrong.")])
async def test_what_cannot_pass_ends_the_job_at_once(parts, error):
    await parts.failures.settle(await preparing(parts), error)
    job = await parts.jobs.get_job(JOB)
    assert job.status is JobStatus.FAILED
    assert (job.error.code, job.error.message) == (error.error_code, error.message)
    assert not job.error.retryable


async def test_a_failure_of_a_job_that_has_ended_changes_nothing_of_it(parts):
    unit = worn(await preparing(parts), parts)
    await parts.tasks.cancel_task("ann", JOB)
    before = await parts.jobs.get_job(JOB)
    await parts.failures.settle(unit, CRASH)
    assert await parts.jobs.get_job(JOB) == before
    assert await unit_ids(parts) == []


async def test_who_lost_the_unit_does_not_put_it_off(parts):
    loser = await preparing(parts)
    await parts.units.release(loser)
    holder = await claimed(parts, UnitKind.PREPARE)
    await parts.failures.settle(loser, AWAY)
    assert await parts.units.get_units(JOB) == [holder]


async def test_a_batch_that_keeps_failing_is_halved(parts, queues):
    unit = worn(await transcribing(parts, 5), parts)
    await parts.failures.settle(unit, CRASH)
    first, second = await parts.units.get_units(JOB)
    assert (first.chunks, second.chunks) == ([0, 1], [2, 3, 4])
    assert {first.state, second.state} == {UnitState.OPEN}
    last = parts.settings.job_max_attempts - 1
    assert (first.failures, second.failures) == (last, last), "each is tried once more"
    assert len(queues.ids()) == 2
    assert await statuses(parts) == [PENDING] * 5


async def test_what_is_done_of_a_batch_is_not_halved_with_the_rest(parts):
    unit = worn(await transcribing(parts, 4), parts)
    for chunk in (await parts.chunks.claim(JOB, unit.chunks, unit.holder))[:2]:
        await parts.database.get_collection("chunks").update_one(
            {"_id": chunk.id}, {"$set": {"status": "done"}}
        )
    await parts.failures.settle(unit, CRASH)
    assert [left.chunks for left in await parts.units.get_units(JOB)] == [[2], [3]]


@pytest.mark.parametrize("error", [CRASH, RuntimeError("odd")])
async def test_one_chunk_that_keeps_failing_becomes_a_gap_and_the_job_goes_on(parts, error):
    unit = worn(await transcribing(parts, 3), parts)
    for chunk in await parts.chunks.claim(JOB, [0, 2], unit.holder):
        await parts.database.get_collection("chunks").update_one(
            {"_id": chunk.id}, {"$set": {"status": "done"}}
        )
    await parts.failures.settle(unit, error)
    assert await statuses(parts) == [DONE, FAILED, DONE]
    job = await parts.jobs.get_job(JOB)
    assert (job.status, job.stage) == (JobStatus.PROCESSING, Stage.MERGE)
    assert await unit_ids(parts) == ["merge"]


async def test_where_every_chunk_fails_the_job_does(parts):
    await settle_again_and_again(parts, await transcribing(parts, 7), CRASH)
    assert await statuses(parts) == [FAILED] * 7
    job = await parts.jobs.get_job(JOB)
    assert (job.status, job.error.code) == (JobStatus.FAILED, CRASH.error_code)
    assert await unit_ids(parts) == []


@pytest.mark.parametrize(
    ("error", "code"),
    [(AWAY, "storage_unavailable"), (FULL, "disk_full"), (MISSING, MISSING.error_code)],
)
async def test_what_is_not_the_audios_fault_never_makes_a_gap(parts, error, code):
    await settle_again_and_again(parts, await transcribing(parts, 4), error)
    assert await statuses(parts) == [PENDING] * 4
    job = await parts.jobs.get_job(JOB)
    assert (job.status, job.error.code) == (JobStatus.FAILED, code)


async def test_an_engine_that_had_no_room_to_write_did_not_fail_on_the_audio(parts, monkeypatch):
    full = SimpleNamespace(disk_usage=lambda _: SimpleNamespace(free=0))
    monkeypatch.setattr(failure_service, "shutil", full)
    await parts.failures.settle(worn(await transcribing(parts, 1), parts), CRASH)
    job = await parts.jobs.get_job(JOB)
    assert (job.status, job.error.code) == (JobStatus.FAILED, "disk_full")
    assert await statuses(parts) == [PENDING]


async def test_a_unit_that_cost_ten_consumers_is_not_tried_again(parts):
    unit = (await preparing(parts)).model_copy(update={"crashes": 10})
    assert parts.failures.is_worn_out(unit)
    assert not parts.failures.is_worn_out(unit.model_copy(update={"crashes": 9}))
    await parts.failures.settle(unit, CRASH)
    assert (await parts.jobs.get_job(JOB)).status is JobStatus.FAILED


async def test_a_batch_that_cost_ten_consumers_is_halved_and_counts_anew(parts):
    unit = (await transcribing(parts, 2)).model_copy(update={"crashes": 10})
    await parts.database.get_collection("units").update_one(
        {"_id": unit.id}, {"$set": {"crashes": 10}}
    )
    await parts.failures.settle(unit, CRASH)
    halves = await parts.units.get_units(JOB)
    assert [(half.chunks, half.crashes) for half in halves] == [([0], 0), ([1], 0)]
