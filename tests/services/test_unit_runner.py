"""Doing a unit: kept while it is worked on, and settled however it ends."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable

import pytest

from core.errors import DatabaseUnavailable
from core.messaging import SHORT_QUEUE, SPEECH_QUEUE
from repositories.models import JobStatus, Stage, UnitCreate, UnitKind, UnitModel, UnitState
from services import unit_runner
from services.unit_runner import UnitRunner
from tests.services.support import JOB, stored, unit_ids
from worker.errors import EngineFailed, InvalidAudio

LONG = 60.0
Run = Callable[[Callable[[UnitModel], Awaitable[None]]], Awaitable[bool]]


@pytest.fixture
async def unit(parts) -> UnitCreate:
    """A job that is to be prepared."""
    await stored(parts, stage=Stage.PREPARE, diarization=None)
    create = UnitCreate(
        id=f"{JOB}-prepare", job_id=JOB, kind=UnitKind.PREPARE, queue=SPEECH_QUEUE,
        timeout_seconds=LONG,
    )  # fmt: skip
    await parts.units.add("ann", [create])
    return create


@pytest.fixture
def run(parts) -> Run:
    """Return a function that does the next unit of speech by calling a stage."""

    def run_next(stage: Callable[[UnitModel], Awaitable[None]]) -> Awaitable[bool]:
        stages = {UnitKind.PREPARE: stage}
        runner = UnitRunner(parts.units, parts.failures, parts.dispatcher, stages)
        return runner.run_next(SPEECH_QUEUE)

    return run_next


class Work:
    """A stage that takes as long as it is let, and notes what becomes of it."""

    def __init__(self, seconds: float = LONG) -> None:
        self.seconds = seconds
        self.begun = asyncio.Event()
        self.ended: str | None = None
        self.unit: UnitModel | None = None

    async def __call__(self, unit: UnitModel) -> None:
        self.unit = unit
        self.begun.set()
        try:
            await asyncio.sleep(self.seconds)
        except asyncio.CancelledError:
            self.ended = "cancelled"
            raise
        self.ended = "done"


async def fields_of(parts) -> UnitModel:
    (found,) = await parts.units.get_units(JOB)
    return found


async def set_fields(parts, **fields) -> None:
    await parts.database.get_collection("units").update_many({}, {"$set": fields})


async def test_without_work_there_is_nothing_to_do(run):
    assert await run(Work()) is False


@pytest.mark.parametrize(("share", "first"), [(0, SHORT_QUEUE), (1, SPEECH_QUEUE)])
async def test_short_recordings_come_first_but_not_always(
    parts, run, unit, monkeypatch, share, first
):
    """Else, with enough of them, a long one would never have its turn."""
    monkeypatch.setattr(unit_runner, "_LONG_FIRST_SHARE", share)
    short = unit.model_copy(update={"id": f"{JOB}-prepare-short", "queue": SHORT_QUEUE})
    await parts.units.add("ann", [short])
    work = Work(0)
    assert await run(work) is True
    assert work.unit.queue == first


@pytest.mark.usefixtures("unit")
async def test_a_unit_that_is_done_is_gone(parts, run):
    work = Work(0)
    assert await run(work) is True
    assert work.ended == "done"
    assert (work.unit.id, work.unit.attempt) == (f"{JOB}-prepare", 1)
    assert await unit_ids(parts) == []


@pytest.mark.usefixtures("unit")
async def test_an_error_counts_as_an_attempt(parts, run):
    async def fail(_):
        raise EngineFailed("ffmpeg crashed.", code="decoding_failed")

    assert await run(fail)
    left = await fields_of(parts)
    assert (left.state, left.failures, left.crashes) == (UnitState.OPEN, 1, 0)
    assert left.last_error.code == "decoding_failed"


@pytest.mark.usefixtures("unit")
async def test_an_error_that_stays_ends_the_job(parts, run):
    async def fail(_):
        raise InvalidAudio("This is no recording.", code="not_audio")

    assert await run(fail)
    job = await parts.jobs.get_job(JOB)
    assert (job.status, job.error.code) == (JobStatus.FAILED, "not_audio")
    assert await unit_ids(parts) == []


@pytest.mark.usefixtures("unit")
async def test_a_stage_that_hangs_is_stopped_after_its_time(parts, run):
    await set_fields(parts, timeout_seconds=0.2)
    work, began = Work(), time.monotonic()
    assert await run(work)
    assert work.ended == "cancelled"
    assert time.monotonic() - began < 5
    left = await fields_of(parts)
    assert (left.failures, left.last_error.code) == (1, "engine_timeout")


@pytest.mark.usefixtures("unit")
async def test_a_time_limit_of_the_stages_own_is_not_ours(parts, run):
    async def fail(_):
        raise TimeoutError

    assert await run(fail)
    assert (await fields_of(parts)).last_error.code == "internal_error"


@pytest.mark.usefixtures("unit")
async def test_work_on_a_unit_that_is_taken_away_stops(parts, run):
    """The task was cancelled or deleted."""
    work = Work()
    running = asyncio.create_task(run(work))
    await asyncio.wait_for(work.begun.wait(), 5)
    began = time.monotonic()
    await parts.tasks.cancel_task("ann", JOB)
    assert await asyncio.wait_for(running, 5)
    assert time.monotonic() - began < 2.5
    assert work.ended == "cancelled"
    assert await unit_ids(parts) == []
    assert (await parts.jobs.get_job(JOB)).status is JobStatus.CANCELLED


@pytest.mark.usefixtures("unit")
async def test_who_lost_the_unit_stops_and_leaves_it_to_the_other(parts, run):
    work = Work()
    running = asyncio.create_task(run(work))
    await asyncio.wait_for(work.begun.wait(), 5)
    await set_fields(parts, lease_until=0)
    assert await parts.units.expire_leases() == 1
    other = await parts.units.claim([SPEECH_QUEUE], LONG)
    await asyncio.wait_for(running, 5)
    assert work.ended == "cancelled"
    assert await fields_of(parts) == other
    assert other.failures == 0


@pytest.mark.usefixtures("unit")
async def test_the_lease_is_kept_while_the_work_lasts(parts, run, monkeypatch):
    monkeypatch.setattr(unit_runner, "LEASE_SECONDS", 0.6)
    monkeypatch.setattr(unit_runner, "_RENEW_SECONDS", 0.1)
    work = Work(1.5)
    running = asyncio.create_task(run(work))
    await work.begun.wait()
    while not running.done():
        assert await parts.units.expire_leases() == 0
        await asyncio.sleep(0.1)
    assert work.ended == "done"
    assert await unit_ids(parts) == []


@pytest.mark.usefixtures("unit")
async def test_renewing_outlasts_an_outage_of_the_database(parts, run, monkeypatch):
    monkeypatch.setattr(unit_runner, "LEASE_SECONDS", 2.0)
    monkeypatch.setattr(unit_runner, "_RENEW_SECONDS", 0.1)
    renew, failed = parts.units.renew, []

    async def away_at_first(*arguments):
        if len(failed) < 3:
            failed.append(arguments)
            raise DatabaseUnavailable("Away.")
        return await renew(*arguments)

    monkeypatch.setattr(parts.units, "renew", away_at_first)
    work = Work(4.0)
    running = asyncio.create_task(run(work))
    while not running.done():
        assert await parts.units.expire_leases() == 0
        await asyncio.sleep(0.1)
    assert work.ended == "done"
    assert await unit_ids(parts) == []


@pytest.mark.usefixtures("unit")
async def test_a_database_that_stays_away_counts_no_attempt(parts, run):
    async def fail(_):
        raise DatabaseUnavailable("Away.")

    with pytest.raises(DatabaseUnavailable):
        await run(fail)
    left = await fields_of(parts)
    assert (left.state, left.failures) == (UnitState.RUNNING, 0), "its lease ends by itself"


@pytest.mark.usefixtures("unit")
async def test_stopped_consumers_give_back_what_takes_too_long(parts, run, queues, monkeypatch):
    monkeypatch.setattr(unit_runner, "_GRACE_SECONDS", 0.2)
    work = Work()
    running = asyncio.create_task(run(work))
    await asyncio.wait_for(work.begun.wait(), 5)
    os.kill(os.getpid(), signal.SIGTERM)
    assert await asyncio.wait_for(running, 5)
    assert work.ended == "cancelled"
    left = await fields_of(parts)
    assert (left.state, left.failures, left.crashes) == (UnitState.OPEN, 0, 0)
    assert queues.ids() == [f"speech-{JOB}-prepare-1"], "another consumer is woken for it"


@pytest.mark.usefixtures("unit")
async def test_stopped_consumers_finish_what_is_nearly_done(parts, run, queues, monkeypatch):
    monkeypatch.setattr(unit_runner, "_GRACE_SECONDS", 30.0)
    work = Work(0.5)
    running = asyncio.create_task(run(work))
    await asyncio.wait_for(work.begun.wait(), 5)
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(running, 5)
    assert work.ended == "done"
    assert await unit_ids(parts) == []
    assert queues.ids() == []


@pytest.mark.usefixtures("unit")
async def test_a_unit_that_cost_ten_consumers_is_not_begun(parts, run):
    await set_fields(parts, crashes=10)
    work = Work(0)
    assert await run(work)
    assert work.unit is None
    job = await parts.jobs.get_job(JOB)
    assert (job.status, job.error.code) == (JobStatus.FAILED, "consumer_killed")
