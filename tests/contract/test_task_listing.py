"""The contract of `TaskRepository` for queries over many jobs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from core.errors import InvalidInput
from repositories.models import JobModel, JobOptions, JobStatus, Source, to_milliseconds
from repositories.task_filter import EVERY_TASK, TaskFilter
from repositories.task_repository import TaskRepository

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)


@pytest.fixture
def add(database):
    """Return a function that puts a job of a given age into the database."""
    source = Source(object="o", file_name="f", size_bytes=1, sha256="", format="wav", codec="pcm")

    async def add_job(job_id: str, created_at: datetime = NOON, **fields) -> JobModel:
        values = {"owner": "ann", "options": JobOptions(model="demo-en"), "source": source}
        job = JobModel(id=job_id, created_at=created_at, **values | fields)
        await database.get_collection("jobs").insert_one(job.to_dict())
        return job

    return add_job


async def pages(jobs: TaskRepository, limit: int, which: TaskFilter = EVERY_TASK, **order: bool):
    """Yield the ids on each page of Ann's jobs."""
    cursor = None
    while True:
        page = await jobs.list_jobs("ann", which, limit=limit, cursor=cursor, **order)
        yield [job.id for job in page.items]
        if (cursor := page.next_cursor) is None:
            return


async def test_no_jobs_make_one_empty_page(jobs):
    page = await jobs.list_jobs("ann", limit=5, cursor=None)
    assert (page.items, page.next_cursor) == ([], None)


async def test_listed_jobs_are_whole(jobs, add):
    job = await add("1", warnings=["a"], timings={"prepare": 0.5}, finished_at=NOON)
    page = await jobs.list_jobs("ann", limit=5, cursor=None)
    assert page.items == [job]


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 6, 7, 100])
async def test_pages_hold_every_job_once_newest_first(jobs, add, limit):
    for job_id in ("b", "d", "a", "c"):  # of one moment, on more than one page
        await add(job_id, NOON)
    await add("older", NOON - MILLISECOND)
    await add("newer", NOON + MILLISECOND)
    found = [ids async for ids in pages(jobs, limit)]
    assert sum(found, []) == ["newer", "d", "c", "b", "a", "older"]
    assert all(len(ids) == limit for ids in found[:-1])
    assert len(found) == -(-6 // limit), "no empty page at the end"


async def test_ids_with_the_cursors_separator_page_as_well(jobs, add):
    for job_id in ("1.a", "1.b", "1.", "."):
        await add(job_id)
    assert [ids async for ids in pages(jobs, 1)] == [["1.b"], ["1.a"], ["1."], ["."]]


async def test_changes_between_pages_neither_repeat_nor_hide_a_job(jobs, add):
    for minute in range(4):
        await add(f"job-{minute}", NOON + timedelta(minutes=minute))
    first = await jobs.list_jobs("ann", limit=2, cursor=None)
    assert [job.id for job in first.items] == ["job-3", "job-2"]
    await add("late", NOON + timedelta(hours=1))
    assert await jobs.delete_job("job-2"), "the job that the cursor names"
    second = await jobs.list_jobs("ann", limit=2, cursor=first.next_cursor)
    assert [job.id for job in second.items] == ["job-1", "job-0"]


async def test_owners_see_their_own_jobs(jobs, add):
    await add("1", owner="ann")
    await add("2", owner="bob", created_at=NOON + MILLISECOND)
    await add("0", owner="bob")
    await add("3", owner="ann", created_at=NOON - MILLISECOND)
    await add("4", owner="bob", created_at=NOON - MILLISECOND)
    assert [ids async for ids in pages(jobs, 1)] == [["1"], ["3"]]
    bobs = await jobs.list_jobs("bob", limit=5, cursor=None)
    assert [job.id for job in bobs.items] == ["2", "0", "4"]
    nobodys = await jobs.list_jobs("", limit=5, cursor=None)
    assert nobodys.items == []


async def test_listing_by_status_pages_through_that_status(jobs, add):
    for at, status in enumerate([*JobStatus] * 3):
        await add(f"{at:02}", NOON, status=status)
    cancelled = [at for at, status in enumerate([*JobStatus] * 3) if status == "cancelled"]
    found = [ids async for ids in pages(jobs, 2, TaskFilter(JobStatus.CANCELLED))]
    assert sum(found, []) == [f"{at:02}" for at in reversed(cancelled)]


@pytest.mark.parametrize(
    "cursor", ["", ".", "x", "1", "1.", ".job", "-1.job", "1e3.job", "٣.job", "9" * 16 + ".job"]
)
async def test_foreign_cursors_are_refused(jobs, cursor):
    with pytest.raises(InvalidInput) as refused:
        await jobs.list_jobs("ann", limit=5, cursor=cursor)
    assert refused.value.error_code == "invalid_cursor"


async def test_cursor_is_data_and_never_a_query(jobs, add):
    await add("1")
    cursor = f"{to_milliseconds(NOON)}.$ne"
    page = await jobs.list_jobs("ann", limit=5, cursor=cursor)
    assert page.items == []


async def test_idle_jobs_are_open_ones_that_nobody_touched_oldest_first(jobs, add):
    earlier = NOON - MILLISECOND
    await add("b", NOON, updated_at=earlier)
    await add("a", NOON - timedelta(days=1), updated_at=earlier, status=JobStatus.PROCESSING)
    await add("touched", NOON - timedelta(days=2), updated_at=NOON)
    for status in ("completed", "failed", "cancelled"):
        await add(status, updated_at=earlier, status=JobStatus(status))
    assert [job.id for job in await jobs.get_idle_jobs(NOON, 5)] == ["a", "b"]
    assert [job.id for job in await jobs.get_idle_jobs(NOON, 1)] == ["a"]
    assert await jobs.get_idle_jobs(earlier, 5) == []


async def test_jobs_expire_when_their_time_is_over(jobs, add):
    await add("over", expires_at=NOON - MILLISECOND, status=JobStatus.COMPLETED)
    await add("over-too", expires_at=NOON - timedelta(days=9), owner="bob")
    await add("now", expires_at=NOON)
    await add("kept")  # for ever
    expired = await jobs.get_expired_jobs(NOON, 5)
    assert {job.id for job in expired} == {"over", "over-too"}
    assert len(await jobs.get_expired_jobs(NOON, 1)) == 1


async def test_completed_jobs_over_the_same_bytes(jobs, add):
    def bytes_of(sha256: str) -> dict:
        source = Source(
            object="o", file_name="f", size_bytes=1, sha256=sha256, format="wav", codec="pcm"
        )
        return {"source": source, "status": JobStatus.COMPLETED}

    await add("old", NOON - MILLISECOND, **bytes_of("aa"))
    await add("new", NOON, **bytes_of("aa"))
    await add("anothers", NOON, owner="bob", **bytes_of("aa"))
    await add("other", NOON, **bytes_of("bb"))
    await add("failed", NOON, **bytes_of("aa") | {"status": JobStatus.FAILED})
    assert [job.id for job in await jobs.get_completed_of("ann", "aa")] == ["new", "old"]
    assert [job.id for job in await jobs.get_completed_of("ann", "aa", limit=1)] == ["new"]
    assert await jobs.get_completed_of("ann", "cc") == []


async def test_ids_that_no_job_has(jobs, add):
    await add("1")
    await add("2", owner="bob", status=JobStatus.FAILED)
    many = [f"x{at}" for at in range(2500)]  # more than one query takes
    assert await jobs.missing_of(["1", *many, "2"]) == set(many)
    assert await jobs.missing_of(["1", "2"]) == set()
    assert await jobs.missing_of([]) == set()


async def test_open_jobs_are_counted_of_one_owner_and_of_all(jobs, add):
    assert await jobs.count_open() == 0
    for at, status in enumerate(JobStatus):
        await add(f"ann-{at}", status=status)
    await add("bob-1", owner="bob")
    assert (await jobs.count_open("ann"), await jobs.count_open("bob")) == (2, 1)
    assert (await jobs.count_open(), await jobs.count_open("cy")) == (3, 0)


async def test_queue_ahead_counts_older_pending_jobs(jobs, add):
    await add("1", NOON - MILLISECOND)
    await add("2", NOON)
    await add("3", NOON - MILLISECOND, status=JobStatus.COMPLETED)
    assert await jobs.count_pending_before(NOON - MILLISECOND) == 0
    assert await jobs.count_pending_before(NOON) == 1
    assert await jobs.count_pending_before(NOON + MILLISECOND) == 2


async def test_jobs_are_counted_by_status(jobs, add):
    assert await jobs.count_by_status() == {}
    for at, status in enumerate(["pending", "failed", "failed"]):
        await add(str(at), status=JobStatus(status))
    assert await jobs.count_by_status() == {"pending": 1, "failed": 2}
