"""The contract of `TaskRepository`, on every database that it has to work with."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta, timezone

import pytest

from core.database import MongoDB
from core.errors import Conflict, NotFound
from repositories.models import (
    JobCreate,
    JobError,
    JobModel,
    JobOptions,
    JobStatus,
    JobUpdate,
    Progress,
    Result,
    Source,
    Stage,
)
from repositories.task_repository import TaskRepository

THE_PAST = datetime(2024, 2, 29, 23, 59, 59, 999_000, tzinfo=UTC)
RESULT = Result(object="jobs/1/t.json", language="de", duration=1.5, segments=2, words=9)


def a_request(job_id: str = "job-1", owner: str = "ann") -> JobCreate:
    source = Source(
        object=f"jobs/{job_id}/source",
        file_name="Gespräch 🎙 «Zürich».mp3",
        size_bytes=2**40,
        sha256="0" * 64,
        format="mp3",
        codec="mp3",
        duration=12.345678901234,
    )
    return JobCreate(id=job_id, owner=owner, options=JobOptions(model="demo-en"), source=source)


async def stored(database: MongoDB, job_id: str, owner: str = "ann", **fields) -> JobModel:
    """Put a job into the database as it would be after some history."""
    job = JobModel(**a_request(job_id, owner).model_dump(), **fields)
    await database.get_collection("jobs").insert_one(job.to_dict())
    return job


async def test_created_job_is_found_as_it_was_made(jobs):
    made = await jobs.create_job(a_request())
    assert made.status is JobStatus.PENDING
    assert made.stage is Stage.PREPARE
    assert await jobs.get_job("job-1") == made


async def test_what_is_known_of_a_job_is_created_with_it(jobs):
    known = {"status": JobStatus.COMPLETED, "stage": Stage.DONE, "result": RESULT,
             "finished_at": THE_PAST, "reused_from": "job-0"}  # fmt: skip
    made = await jobs.create_job(a_request(), **known)
    assert {name: getattr(made, name) for name in known} == known
    assert await jobs.get_job("job-1") == made


async def test_required_job_that_is_not_there_or_anothers_is_not_found(jobs):
    made = await jobs.create_job(a_request(owner="ann"))
    assert await jobs.require_job("job-1", "ann") == made
    for job_id, owner in (("job-1", "bob"), ("job-2", "ann")):
        with pytest.raises(NotFound) as missing:
            await jobs.require_job(job_id, owner)
        assert missing.value.error_code == "task_not_found"


async def test_second_job_of_one_id_is_refused_and_changes_nothing(jobs):
    made = await jobs.create_job(a_request())
    with pytest.raises(Conflict) as refused:
        await jobs.create_job(a_request(owner="bob"))
    assert refused.value.error_code == "duplicate"
    assert await jobs.get_job("job-1") == made


async def test_of_many_creations_of_one_id_one_succeeds(jobs):
    results = await asyncio.gather(
        *(jobs.create_job(a_request()) for _ in range(20)), return_exceptions=True
    )
    assert sum(isinstance(result, JobModel) for result in results) == 1
    assert sum(isinstance(result, Conflict) for result in results) == 19


async def test_job_is_shown_to_its_owner_only(jobs):
    made = await jobs.create_job(a_request(owner="ann"))
    assert await jobs.get_job("job-1", owner="ann") == made
    assert await jobs.get_job("job-1", owner="bob") is None
    assert await jobs.get_job("job-1", owner="") is None
    assert await jobs.get_job("job-2") is None


async def test_a_chunk_that_is_reported_after_the_merge_changes_nothing(jobs, database):
    """It counted all of them itself."""
    progress = Progress(chunks_done=3, chunks_total=4)
    await stored(database, "job-1", progress=progress, stage=Stage.DONE)
    await jobs.add_chunk_done(await jobs.get_job("job-1"))
    assert (await jobs.get_job("job-1")).progress == progress


async def test_update_writes_the_given_fields_and_no_others(jobs, database):
    before = await stored(database, "job-1", warnings=["old"], updated_at=THE_PAST)
    update = JobUpdate(progress=Progress(chunks_done=1, chunks_total=4), result=RESULT)
    assert await jobs.update_job("job-1", update)
    after = await jobs.get_job("job-1")
    assert after.updated_at > THE_PAST
    expected = {"progress": update.progress, "result": RESULT, "updated_at": after.updated_at}
    assert after == before.model_copy(update=expected)


async def test_update_to_none_clears_a_field(jobs, database):
    error = JobError(code="engine_failed", message="whisper-cli ended.", retryable=True)
    await stored(database, "job-1", error=error, finished_at=THE_PAST)
    assert await jobs.update_job("job-1", JobUpdate(error=None))
    after = await jobs.get_job("job-1")
    assert after.error is None
    assert after.finished_at == THE_PAST


async def test_stages_add_their_timings(jobs):
    await jobs.create_job(a_request())
    await jobs.update_job("job-1", JobUpdate(timings={"prepare": 1.25}))
    await jobs.update_job("job-1", JobUpdate(timings={"transcribe": 8.0, "merge": 0.0625}))
    await jobs.update_job("job-1", JobUpdate(timings={"prepare": 2.5}))
    timings = (await jobs.get_job("job-1")).timings
    assert timings == {"prepare": 2.5, "transcribe": 8.0, "merge": 0.0625}


async def test_update_says_whether_there_was_such_a_job(jobs):
    await jobs.create_job(a_request())
    assert await jobs.update_job("job-1", JobUpdate(warnings=[]))
    assert await jobs.update_job("job-1", JobUpdate(warnings=[])), "unchanged is not missing"
    assert not await jobs.update_job("job-2", JobUpdate(warnings=[]))
    assert await jobs.get_job("job-2") is None


async def test_update_is_bound_to_the_states_it_names(jobs, database):
    await stored(database, "job-1", status=JobStatus.CANCELLED)
    update, both = JobUpdate(duration=3.0), {JobStatus.PENDING, JobStatus.PROCESSING}
    assert not await jobs.update_job("job-1", update, while_status=both)
    assert not await jobs.update_job("job-1", update, while_status=set())
    assert (await jobs.get_job("job-1")).duration is None
    assert await jobs.update_job("job-1", update, while_status={*both, JobStatus.CANCELLED})
    assert (await jobs.get_job("job-1")).duration == 3.0


async def test_status_moves_with_its_other_changes(jobs):
    await jobs.create_job(a_request())
    update = JobUpdate(stage=Stage.DONE, finished_at=THE_PAST)
    pending = {JobStatus.PENDING}
    assert await jobs.update_status("job-1", JobStatus.FAILED, allowed_from=pending, update=update)
    job = await jobs.get_job("job-1")
    assert (job.status, job.stage, job.finished_at) == (JobStatus.FAILED, Stage.DONE, THE_PAST)


async def test_refused_move_changes_nothing(jobs, database):
    before = await stored(database, "job-1", status=JobStatus.COMPLETED, updated_at=THE_PAST)
    update = JobUpdate(finished_at=THE_PAST)
    allowed = {JobStatus.PENDING, JobStatus.PROCESSING}
    assert not await jobs.update_status(
        "job-1", JobStatus.FAILED, allowed_from=allowed, update=update
    )
    assert not await jobs.update_status("job-2", JobStatus.FAILED, allowed_from=allowed)
    assert await jobs.get_job("job-1") == before


async def test_move_may_be_bound_to_a_stage(jobs, database):
    before = await stored(database, "job-1", status=JobStatus.PROCESSING, stage=Stage.TRANSCRIBE)
    processing = JobStatus.PROCESSING

    async def move(while_stage: Stage) -> bool:
        update = JobUpdate(stage=Stage.MERGE, duration=3.0)
        return await jobs.update_status(
            "job-1", processing, allowed_from={processing}, while_stage=while_stage, update=update
        )

    assert not await move(Stage.PREPARE)
    assert await jobs.get_job("job-1") == before
    assert await move(Stage.TRANSCRIBE)
    assert not await move(Stage.TRANSCRIBE)
    job = await jobs.get_job("job-1")
    assert (job.stage, job.duration) == (Stage.MERGE, 3.0)


async def test_move_may_be_bound_to_an_attempt(jobs, database):
    before = await stored(database, "job-1", status=JobStatus.PROCESSING, attempt=2)
    move = {"allowed_from": {JobStatus.PROCESSING}}
    assert not await jobs.update_status("job-1", JobStatus.FAILED, while_attempt=1, **move)
    assert await jobs.get_job("job-1") == before
    assert await jobs.update_status("job-1", JobStatus.FAILED, while_attempt=2, **move)


async def test_one_of_many_concurrent_moves_wins(jobs):
    await jobs.create_job(a_request())
    pending = {JobStatus.PENDING}
    targets = [JobStatus.PROCESSING, JobStatus.CANCELLED] * 25
    moved = await asyncio.gather(
        *(
            jobs.update_status("job-1", to, allowed_from=pending, update=JobUpdate(duration=at))
            for at, to in enumerate(targets)
        )
    )
    assert moved.count(True) == 1
    job, winner = await jobs.get_job("job-1"), moved.index(True)
    assert (job.status, job.duration) == (targets[winner], winner)


async def test_one_of_many_advances_a_stage(jobs, database):
    await stored(database, "job-1", status=JobStatus.PROCESSING, stage=Stage.TRANSCRIBE)
    advanced = await asyncio.gather(
        *(jobs.advance_stage("job-1", Stage.TRANSCRIBE, Stage.MERGE) for _ in range(50))
    )
    assert advanced.count(True) == 1
    assert (await jobs.get_job("job-1")).stage is Stage.MERGE


@pytest.mark.parametrize("status", set(JobStatus) - {JobStatus.PROCESSING})
async def test_only_a_processing_job_advances(jobs, database, status):
    await stored(database, "job-1", status=status)
    assert not await jobs.advance_stage("job-1", Stage.PREPARE, Stage.TRANSCRIBE)
    assert (await jobs.get_job("job-1")).stage is Stage.PREPARE


async def test_every_chunk_is_counted_once_and_never_more_than_there_are(jobs, database):
    total = Progress(chunks_done=10, chunks_total=60)
    fields = {"progress": total, "stage": Stage.TRANSCRIBE, "updated_at": THE_PAST}
    await stored(database, "job-1", **fields)
    job = await jobs.get_job("job-1")
    await asyncio.gather(*(jobs.add_chunk_done(job) for _ in range(40)))
    counted = await jobs.get_job("job-1")
    assert counted.progress == Progress(chunks_done=50, chunks_total=60)
    assert counted.updated_at > THE_PAST
    await asyncio.gather(*(jobs.add_chunk_done(job) for _ in range(20)))
    assert (await jobs.get_job("job-1")).progress == Progress(chunks_done=60, chunks_total=60)
    await jobs.add_chunk_done(job.model_copy(update={"id": "job-2"}))
    assert await jobs.get_job("job-2") is None


async def test_deleting_says_whether_there_was_such_a_job(jobs):
    await jobs.create_job(a_request("job-1"))
    await jobs.create_job(a_request("job-2"))
    assert await jobs.delete_job("job-1")
    assert not await jobs.delete_job("job-1")
    assert await jobs.get_job("job-1") is None
    assert await jobs.get_job("job-2") is not None


async def test_indexes_can_be_made_again_and_after_the_documents(database):
    repository = TaskRepository(database)
    made = await repository.create_job(a_request())
    await repository.ensure_indexes()
    await repository.ensure_indexes()
    collection = database.get_collection("jobs")
    keys = [tuple(index["key"]) for index in (await collection.index_information()).values()]
    assert len(keys) == len(set(keys)) == 6
    assert await repository.get_job("job-1") == made
    page = await repository.list_jobs("ann", limit=5, cursor=None)
    assert page.items == [made]


async def test_times_come_back_to_the_millisecond_in_utc(jobs):
    made = await jobs.create_job(a_request())
    zurich = datetime(2026, 7, 1, 8, 30, 0, 1_000, tzinfo=timezone(timedelta(hours=2)))
    times = {"started_at": THE_PAST, "transcribing_since": zurich}
    await jobs.update_job("job-1", JobUpdate(**times))
    job = await jobs.get_job("job-1")
    assert (job.started_at, job.transcribing_since, job.created_at) == (
        THE_PAST,
        zurich,
        made.created_at,
    )
    for moment in (job.started_at, job.transcribing_since, job.created_at, job.updated_at):
        assert moment.utcoffset() == timedelta(0)
        assert moment.microsecond % 1000 == 0


async def test_large_documents_in_any_script_come_back_whole(jobs):
    words = ["naïve", "日本語", "עברית", "🎙️", "$set", "a.b", "{}", "\x00", "\u2028", "'", '"']
    notes = [" ".join(words)] * 20_000
    await jobs.create_job(a_request())
    await jobs.update_job("job-1", JobUpdate(warnings=notes))
    assert (await jobs.get_job("job-1")).warnings == notes
