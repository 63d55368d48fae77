"""The merge begins when words and speakers are both there: whichever comes last, and once."""

from __future__ import annotations

import asyncio

import pytest

from repositories.models import (
    ChunkStatus,
    DiarizationModel,
    DiarizationState,
    JobStatus,
    Stage,
)
from tests.services.support import JOB, finish_chunk, store_chunks, stored

MERGE = f"{JOB}-merge-1-1"
DONE, PENDING = ChunkStatus.DONE, ChunkStatus.PENDING
HALF = (DONE, PENDING)
ENDS = [DiarizationState.DONE, DiarizationState.FAILED]


async def stage_of(parts) -> Stage:
    return (await parts.jobs.get_job(JOB)).stage


@pytest.mark.parametrize("state", ENDS)
async def test_words_first(parts, queues, state):
    await stored(parts)
    await store_chunks(parts, HALF)
    await parts.merging.start_if_ready(JOB)
    assert (await stage_of(parts), queues.ids()) == (Stage.TRANSCRIBE, [])

    await finish_chunk(parts, 1)
    await parts.merging.start_if_ready(JOB)
    assert (await stage_of(parts), queues.ids()) == (Stage.DIARIZE, [])

    assert await parts.jobs.settle_diarization(JOB, 1, state)
    await parts.merging.start_if_ready(JOB)
    assert (await stage_of(parts), queues.ids()) == (Stage.MERGE, [MERGE])


@pytest.mark.parametrize("state", ENDS)
async def test_speakers_first(parts, queues, state):
    await stored(parts)
    await store_chunks(parts, HALF)
    assert await parts.jobs.settle_diarization(JOB, 1, state)
    await parts.merging.start_if_ready(JOB)
    assert (await stage_of(parts), queues.ids()) == (Stage.TRANSCRIBE, [])

    await finish_chunk(parts, 1)
    await parts.merging.start_if_ready(JOB)
    assert (await stage_of(parts), queues.ids()) == (Stage.MERGE, [MERGE])


async def test_nobody_asked_for_speakers(parts, queues):
    await stored(parts, diarization=None)
    await store_chunks(parts)
    await parts.merging.start_if_ready(JOB)
    assert (await stage_of(parts), queues.ids()) == (Stage.MERGE, [f"{JOB}-merge-0-1"])


async def test_both_at_the_same_time(parts, queues):
    """Each side records its end and then looks: in any order, one merge is queued."""
    await stored(parts)
    await store_chunks(parts, HALF)

    async def words() -> None:
        await finish_chunk(parts, 1)
        await parts.merging.start_if_ready(JOB)

    async def speakers() -> None:
        await parts.jobs.settle_diarization(JOB, 1, DiarizationState.DONE)
        await parts.merging.start_if_ready(JOB)

    await asyncio.gather(words(), speakers())
    assert (await stage_of(parts), queues.ids()) == (Stage.MERGE, [MERGE])


async def test_asking_often_queues_one_merge(parts, queues):
    await stored(parts, diarization=DiarizationModel(state=DiarizationState.DONE))
    await store_chunks(parts)
    await asyncio.gather(*(parts.merging.start_if_ready(JOB) for _ in range(20)))
    assert (await stage_of(parts), queues.ids()) == (Stage.MERGE, [MERGE])


async def test_waiting_for_speakers_is_no_way_back_from_the_merge(parts, queues):
    """Who looked while they were pending, and comes to write it down after the merge was queued."""
    await stored(parts, stage=Stage.MERGE)
    await store_chunks(parts)
    await parts.merging.start_if_ready(JOB)
    assert (await stage_of(parts), queues.ids()) == (Stage.MERGE, [])


@pytest.mark.parametrize("status", set(JobStatus) - {JobStatus.PROCESSING})
async def test_a_job_that_is_not_being_processed_is_left_alone(parts, queues, status):
    before = await stored(
        parts, status=status, diarization=DiarizationModel(state=DiarizationState.DONE)
    )
    await store_chunks(parts)
    await parts.merging.start_if_ready(JOB)
    await parts.merging.start_if_ready("gone")
    assert await parts.jobs.get_job(JOB) == before
    assert queues.ids() == []


async def test_a_job_that_is_not_cut_yet_has_nothing_to_merge(parts, queues):
    await stored(parts, diarization=DiarizationModel(state=DiarizationState.DONE))
    await parts.merging.start_if_ready(JOB)
    assert (await stage_of(parts), queues.ids()) == (Stage.TRANSCRIBE, [])
