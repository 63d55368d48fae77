"""The contract of `FollowUpRepository`, on every database that it has to work with."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from core.clock import utc_now
from repositories.follow_up_repository import FollowUpRepository
from repositories.models import JobModel, JobOptions, JobStatus, JobUpdate, Source
from repositories.task_repository import TaskRepository

LEASE = 3600.0
ENDED = -1.0


@pytest.fixture
async def ended(database) -> FollowUpRepository:
    repository = FollowUpRepository(database)
    await repository.ensure_indexes()
    return repository


@pytest.fixture
def store(database):
    async def put(job_id: str = "job-1", **fields) -> JobModel:
        defaults = {"status": JobStatus.COMPLETED, "finished_at": utc_now(), "follow_up": True}
        job = JobModel(
            id=job_id, owner="ann", options=JobOptions(model="demo-en"),
            source=Source(object="o", file_name="a.wav"), **defaults | fields,
        )  # fmt: skip
        await database.get_collection("jobs").insert_one(job.to_dict())
        return job

    return put


async def test_of_many_who_claim_a_job_at_once_one_gets_it(ended, store):
    job = await store()
    claims = await asyncio.gather(*(ended.claim(LEASE) for _ in range(20)))
    (ours,) = [claim for claim in claims if claim is not None]
    assert (ours.id, ours.finished_at, ours.follow_up_attempts) == (job.id, job.finished_at, 1)


async def test_only_jobs_that_have_ended_and_are_marked_are_claimed(ended, store):
    await store("running", status=JobStatus.PROCESSING)
    await store("waiting", status=JobStatus.PENDING)
    await store("followed up", follow_up=False)
    for status in (JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED):
        await store(status.value, status=status)
    claimed = set()
    while job := await ended.claim(LEASE):
        claimed.add(job.id)
    assert claimed == {"completed", "failed", "cancelled"}


async def test_a_job_that_is_finished_with_is_not_claimed_again(ended, store):
    await store()
    assert await ended.finish(await ended.claim(ENDED))
    assert await ended.claim(LEASE) is None


async def test_after_its_lease_another_has_the_job(ended, store):
    await store()
    await ended.claim(ENDED)
    assert (await ended.claim(LEASE)).follow_up_attempts == 2


async def test_a_postponed_job_waits(ended, store):
    await store()
    ours = await ended.claim(LEASE)
    assert await ended.postpone(ours, LEASE, counts=True)
    assert await ended.claim(LEASE) is None
    assert await ended.postpone(ours, 0, counts=False)
    assert (await ended.claim(LEASE)).follow_up_attempts == 1


async def test_the_next_end_of_a_job_is_not_taken_for_this_one(ended, store, database):
    await store()
    ours = await ended.claim(LEASE)
    again = utc_now() + timedelta(seconds=1)
    # As `lifecycle.ending` does.
    update = JobUpdate(
        finished_at=again, follow_up=True, follow_up_attempts=0, follow_up_at=utc_now()
    )
    await TaskRepository(database).update_job("job-1", update)
    assert not await ended.finish(ours)
    assert not await ended.postpone(ours, LEASE, counts=True)
    next_end = await ended.claim(LEASE)
    assert (next_end.finished_at, next_end.follow_up_attempts) == (again, 1)
