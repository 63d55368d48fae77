"""What is to be done next for a job, from what is recorded of it; asking often changes nothing."""

from __future__ import annotations

import asyncio

import pytest

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
    finish_chunks,
    store_chunks,
    stored,
    unit_ids,
)

DONE, PENDING, FAILED = ChunkStatus.DONE, ChunkStatus.PENDING, ChunkStatus.FAILED
ENDS = [DiarizationState.DONE, DiarizationState.FAILED]
FOUND = DiarizationModel(state=DiarizationState.DONE)
TERMINAL = sorted(status for status in JobStatus if status.is_terminal)


async def stage_of(parts) -> Stage:
    return (await parts.jobs.get_job(JOB)).stage


async def finish(parts, kind: UnitKind) -> None:
    """The end of a unit, without what its stage records."""
    assert await parts.units.finish(await claimed(parts, kind))


@pytest.mark.parametrize("status", [JobStatus.PENDING, JobStatus.PROCESSING])
async def test_a_new_job_is_prepared(parts, planner, status):
    before = await stored(parts, status=status, stage=Stage.PREPARE, diarization=None)
    await planner.advance(JOB)
    assert await unit_ids(parts) == ["prepare"]
    assert await parts.jobs.get_job(JOB) == before


async def test_words_and_speakers_are_looked_for_beside_each_other(parts, planner):
    await stored(parts)
    await store_chunks(parts, (PENDING,) * 5)
    await planner.advance(JOB)
    assert await unit_ids(parts) == ["diarize-1", "transcribe-0", "transcribe-4"]
    batches = [unit.chunks for unit in await parts.units.get_units(JOB)]
    assert batches == [[], [0, 1, 2, 3], [4]]


@pytest.mark.parametrize("state", ENDS)
async def test_words_first(parts, planner, state):
    await stored(parts)
    await store_chunks(parts, (DONE, PENDING))
    await planner.advance(JOB)
    assert await unit_ids(parts) == ["diarize-1", "transcribe-1"]

    await finish_chunks(parts, 1)
    await finish(parts, UnitKind.TRANSCRIBE)
    await planner.advance(JOB)
    assert (await stage_of(parts), await unit_ids(parts)) == (Stage.DIARIZE, ["diarize-1"])

    assert await parts.jobs.settle_diarization(JOB, 1, state)
    await parts.units.delete_units(JOB)
    await planner.advance(JOB)
    assert (await stage_of(parts), await unit_ids(parts)) == (Stage.MERGE, ["merge"])


@pytest.mark.parametrize("state", ENDS)
async def test_speakers_first(parts, planner, state):
    await stored(parts)
    await store_chunks(parts, (DONE, PENDING))
    assert await parts.jobs.settle_diarization(JOB, 1, state)
    await planner.advance(JOB)
    assert (await stage_of(parts), await unit_ids(parts)) == (Stage.TRANSCRIBE, ["transcribe-1"])

    await finish_chunks(parts, 1)
    await finish(parts, UnitKind.TRANSCRIBE)
    await planner.advance(JOB)
    assert (await stage_of(parts), await unit_ids(parts)) == (Stage.MERGE, ["merge"])


async def test_nobody_asked_for_speakers(parts, planner):
    await stored(parts, diarization=None)
    await store_chunks(parts)
    await planner.advance(JOB)
    assert (await stage_of(parts), await unit_ids(parts)) == (Stage.MERGE, ["merge"])


async def test_both_end_at_the_same_time(parts, planner):
    """Each side records its end and then asks: in any order, there is one merge."""
    await stored(parts)
    await store_chunks(parts, (DONE, PENDING))

    async def words() -> None:
        await finish_chunks(parts, 1)
        await planner.advance(JOB)

    async def speakers() -> None:
        await parts.jobs.settle_diarization(JOB, 1, DiarizationState.DONE)
        await planner.advance(JOB)

    await asyncio.gather(words(), speakers())
    assert await stage_of(parts) is Stage.MERGE
    assert "merge" in await unit_ids(parts)


@pytest.mark.parametrize(
    ("fields", "chunks", "expected"),
    [
        ({"stage": Stage.PREPARE}, (), ["prepare"]),
        ({}, (PENDING,) * 6, ["diarize-1", "transcribe-0", "transcribe-4"]),
        ({"diarization": FOUND}, (DONE, DONE), ["merge"]),
        ({"stage": Stage.MERGE}, (DONE, DONE), ["merge"]),
    ],
    ids=["prepare", "transcribe", "both there", "merge"],
)
async def test_asking_often_adds_once(parts, planner, queues, fields, chunks, expected):
    await stored(parts, **fields)
    await store_chunks(parts, chunks)
    await asyncio.gather(*(planner.advance(JOB) for _ in range(10)))
    before = await parts.units.get_units(JOB)
    await planner.advance(JOB)
    assert await unit_ids(parts) == expected
    assert await parts.units.get_units(JOB) == before
    assert len(queues.ids()) == len(expected)


async def test_what_is_being_done_is_not_added_again(parts, planner):
    await stored(parts)
    await store_chunks(parts, (PENDING,) * 6)
    await planner.advance(JOB)
    held = await claimed(parts, UnitKind.TRANSCRIBE)
    before = await parts.units.get_units(JOB)
    await planner.advance(JOB)
    assert await parts.units.get_units(JOB) == before
    assert await parts.units.finish(held)


async def test_chunks_that_no_unit_holds_are_added(parts, planner):
    """A crash between a split and its second half, or a unit that was lost."""
    await stored(parts, diarization=None)
    await store_chunks(parts, (PENDING,) * 8)
    await planner.advance(JOB)
    held = await claimed(parts, UnitKind.TRANSCRIBE)
    await parts.units.release(held, chunks=held.chunks[:1])
    await planner.advance(JOB)
    taken = sorted(index for unit in await parts.units.get_units(JOB) for index in unit.chunks)
    assert taken == list(range(8))


async def test_gaps_do_not_hold_up_the_merge(parts, planner):
    await stored(parts, diarization=None)
    await store_chunks(parts, (FAILED, DONE))
    await planner.advance(JOB)
    assert (await stage_of(parts), await unit_ids(parts)) == (Stage.MERGE, ["merge"])


async def test_a_job_of_which_nothing_could_be_heard_fails_with_the_reason(parts, planner):
    await stored(parts, diarization=None)
    await store_chunks(parts, (FAILED, FAILED))
    await planner.advance(JOB)
    job = await parts.jobs.get_job(JOB)
    assert (job.status, job.error) == (JobStatus.FAILED, CRASHED)
    assert job.finished_at is not None
    assert await unit_ids(parts) == []


async def test_a_job_of_which_nothing_could_be_heard_again_keeps_what_it_had(parts, planner):
    before = await completed(
        parts, status=JobStatus.PROCESSING, stage=Stage.TRANSCRIBE, diarization=None
    )
    await parts.chunks.delete_chunks(JOB)
    await store_chunks(parts, (FAILED, FAILED))
    await planner.advance(JOB)
    job = await parts.jobs.get_job(JOB)
    assert (job.status, job.stage, job.error) == (JobStatus.COMPLETED, Stage.DONE, None)
    assert job.result == before.result
    assert CRASHED.message in job.all_warnings[0]


@pytest.mark.parametrize("status", TERMINAL)
async def test_what_is_left_to_do_for_a_job_that_has_ended_is_removed(parts, planner, status):
    before = await stored(parts, status=status)
    await store_chunks(parts, (PENDING, PENDING))
    await parts.dispatcher.transcribe(before, [0, 1])
    other = await stored(parts, "job-2", stage=Stage.PREPARE)
    await planner.advance(other.id)
    await planner.advance(JOB)
    assert await unit_ids(parts) == []
    assert await parts.jobs.get_job(JOB) == before
    assert await unit_ids(parts, other.id) == ["prepare"]


async def test_what_is_left_to_do_for_a_deleted_job_is_removed(parts, planner):
    job = await stored(parts)
    await parts.dispatcher.merge(job)
    await parts.jobs.delete_job(JOB)
    await planner.advance(JOB)
    await planner.advance("never")
    assert await unit_ids(parts) == []


async def test_waiting_for_speakers_is_no_way_back_from_the_merge(parts, planner):
    """Who looked while they were pending, and comes to write it down after the merge was added."""
    seen = await stored(parts)
    await store_chunks(parts)
    await parts.jobs.advance_stage(JOB, Stage.TRANSCRIBE, Stage.MERGE)
    await planner._advance_listening(seen)
    assert await stage_of(parts) is Stage.MERGE
