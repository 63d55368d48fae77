"""The contract of `TaskRepository` for lists of some jobs, in either order."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from repositories.models import (
    DiarizationModel,
    DiarizationState,
    JobModel,
    JobOptions,
    JobStatus,
    Result,
    Source,
)
from repositories.task_filter import EVERY_TASK, TaskFilter
from repositories.task_repository import TaskRepository

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def add(database):
    """Return a function that puts a job into the database."""

    async def add_job(job_id: str, created_at: datetime = NOON, name: str = "f", **fields) -> None:
        source = Source(object="o", file_name=name)
        values = {"owner": "ann", "options": JobOptions(model="demo-en"), "source": source}
        job = JobModel(id=job_id, created_at=created_at, **values | fields)
        await database.get_collection("jobs").insert_one(job.to_dict())

    return add_job


async def listed(jobs: TaskRepository, which: TaskFilter = EVERY_TASK, limit: int = 2, **order):
    """All ids in order, page by page."""
    ids, cursor = [], None
    while True:
        page = await jobs.list_jobs("ann", which, limit=limit, cursor=cursor, **order)
        assert len(page.items) == limit or page.next_cursor is None
        ids += [job.id for job in page.items]
        if (cursor := page.next_cursor) is None:
            return ids


@pytest.mark.parametrize("limit", [1, 2, 3, 6, 7])
async def test_oldest_first_is_the_other_way_round(jobs, add, limit):
    for job_id in ("b", "d", "a", "c"):  # of one moment, on more than one page
        await add(job_id)
    await add("older", NOON - MINUTE)
    await add("newer", NOON + MINUTE)
    newest_first = await listed(jobs, limit=limit)
    assert newest_first == ["newer", "d", "c", "b", "a", "older"]
    assert await listed(jobs, limit=limit, oldest_first=True) == newest_first[::-1]


async def test_created_between_two_moments(jobs, add):
    for minute in range(6):
        await add(f"{minute}a", NOON + minute * MINUTE)
        await add(f"{minute}b", NOON + minute * MINUTE)
    between = TaskFilter(created_after=NOON + 2 * MINUTE, created_before=NOON + 4 * MINUTE)
    for limit in (1, 2, 3, 4, 5):
        assert await listed(jobs, between, limit) == ["3b", "3a", "2b", "2a"]
        found = await listed(jobs, between, limit, oldest_first=True)
        assert found == ["2a", "2b", "3a", "3b"]
    assert (await listed(jobs, TaskFilter(created_after=NOON + 5 * MINUTE))) == ["5b", "5a"]
    assert (await listed(jobs, TaskFilter(created_before=NOON + MINUTE))) == ["0b", "0a"]
    assert await listed(jobs, TaskFilter(created_before=datetime.min.replace(tzinfo=UTC))) == []


@pytest.mark.parametrize(
    ("part", "found"),
    [
        ("meeting", ["Meeting 2026-01-31.wav", "meeting.MP3"]),
        ("MEETING", ["Meeting 2026-01-31.wav", "meeting.MP3"]),
        ("2026-01-31", ["Meeting 2026-01-31.wav"]),
        ("zür", ["Gespräch in Zürich (1).ogg"]),
        ("(1)", ["Gespräch in Zürich (1).ogg"]),
        (".*", ["a.*b"]),
        (".", ["a.*b", "Gespräch in Zürich (1).ogg", "Meeting 2026-01-31.wav", "meeting.MP3"]),
        ("\\", ["back\\slash"]),
        ("$ne", []),
        ("會議", ["會議 🎙"]),
        ("🎙", ["會議 🎙"]),
    ],
)
async def test_part_of_a_file_name(jobs, add, part, found):
    names = [
        "Meeting 2026-01-31.wav", "meeting.MP3", "Gespräch in Zürich (1).ogg", "a.*b",
        "back\\slash", "會議 🎙",
    ]  # fmt: skip
    for name in names:
        await add(name, name=name)
    assert sorted(await listed(jobs, TaskFilter(file_name=part))) == sorted(found)


def a_result(language: str) -> Result:
    return Result(object="t", language=language, duration=1.0, segments=1, words=1)


async def test_language_and_speakers(jobs, add):
    done, failed = (DiarizationModel(state=DiarizationState(state)) for state in ("done", "failed"))
    await add("waiting", options=JobOptions(model="m", language="de"))
    await add("german", result=a_result("de"), diarization=done)
    await add("english", result=a_result("en"), diarization=failed)
    await add("plain", result=a_result("en"))
    assert await listed(jobs, TaskFilter(language="de")) == ["german"]
    assert await listed(jobs, TaskFilter(language="en")) == ["plain", "english"]
    assert await listed(jobs, TaskFilter(diarized=True)) == ["german"]
    assert await listed(jobs, TaskFilter(diarized=False)) == ["waiting", "plain", "english"]


async def test_filters_are_all_kept(jobs, add):
    completed = JobStatus.COMPLETED
    wanted = TaskFilter(
        completed, NOON, NOON + MINUTE, language="en", file_name="talk", diarized=False
    )
    good = {"name": "A talk", "status": completed, "result": a_result("en")}
    for number in range(5):
        await add(f"good{number}", **good)
    changes = [
        {"status": JobStatus.PROCESSING}, {"name": "x"}, {"result": a_result("de")},
        {"created_at": NOON + MINUTE}, {"created_at": NOON - MINUTE}, {"owner": "bob"},
        {"diarization": DiarizationModel(state=DiarizationState.DONE)},
    ]  # fmt: skip
    for number, change in enumerate(changes):
        await add(f"bad{number}", **good | change)
    for order in (False, True):
        found = await listed(jobs, wanted, oldest_first=order)
        assert sorted(found) == [f"good{number}" for number in range(5)]


async def test_what_is_added_and_deleted_between_pages(jobs, add):
    for minute in range(4):
        await add(f"{minute}", NOON + minute * MINUTE)
    first = await jobs.list_jobs("ann", limit=2, cursor=None, oldest_first=True)
    assert [job.id for job in first.items] == ["0", "1"]
    await add("late", NOON + timedelta(hours=1))
    await add("1b", NOON + MINUTE)
    assert await jobs.delete_job("1"), "the job that the cursor names"
    rest = await jobs.list_jobs("ann", limit=9, cursor=first.next_cursor, oldest_first=True)
    assert [job.id for job in rest.items] == ["1b", "2", "3", "late"]


async def test_a_cursor_is_the_same_place_with_other_filters(jobs, add):
    for minute in range(6):
        status = JobStatus.FAILED if minute % 2 else JobStatus.COMPLETED
        await add(f"{minute}", NOON + minute * MINUTE, status=status)
    page = await jobs.list_jobs("ann", TaskFilter(JobStatus.FAILED), limit=1, cursor=None)
    assert [job.id for job in page.items] == ["5"]

    async def ids(which: TaskFilter, **order) -> list[str]:
        found = await jobs.list_jobs("ann", which, limit=9, cursor=page.next_cursor, **order)
        return [job.id for job in found.items]

    assert await ids(EVERY_TASK) == ["4", "3", "2", "1", "0"]
    assert await ids(EVERY_TASK, oldest_first=True) == []
    assert await ids(TaskFilter(created_before=NOON + 2 * MINUTE)) == ["1", "0"]
    assert await ids(TaskFilter(created_after=NOON + 9 * MINUTE)) == []
    # Another of the cursor's moment, which is not within the bounds.
    await add("4z", NOON + 5 * MINUTE)
    assert (await ids(EVERY_TASK))[0] == "4z"
    assert (await ids(TaskFilter(created_before=NOON + 5 * MINUTE)))[0] == "4"
    assert await ids(TaskFilter(created_after=NOON + 6 * MINUTE)) == []


async def test_jobs_by_id_are_the_owners(jobs, add):
    await add("1")
    await add("2", owner="bob")
    found = await jobs.get_jobs("ann", {"1", "2", "3"})
    assert list(found) == ["1"]
    assert found["1"].source.file_name == "f"
    assert await jobs.get_jobs("ann", set()) == {}


async def test_a_version_is_indexed_while_it_is_the_transcript(jobs, add):
    await add("1", result=a_result("en"))
    assert (await jobs.get_job("1")).indexed is None
    assert await jobs.set_indexed("1", "t", "v1")
    assert (await jobs.get_job("1")).indexed == "v1"
    assert not await jobs.set_indexed("1", "another", "v2")
    assert not await jobs.set_indexed("2", "t", "v2")
    assert (await jobs.get_job("1")).indexed == "v1"
