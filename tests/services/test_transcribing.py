"""The transcription stage: results are committed one by one, and only by whoever holds the unit."""

from __future__ import annotations

import asyncio

import pytest

from repositories.models import ChunkStatus, JobModel, JobStatus, Stage, UnitKind
from services import pipeline_service
from tests.services.support import JOB, TEXTS, US, a_unit, statuses, store_chunks, stored, unit_ids
from worker.errors import EngineFailed
from worker.transcript import ChunkTranscript, Segment, Word

DONE, PENDING, FAILED = ChunkStatus.DONE, ChunkStatus.PENDING, ChunkStatus.FAILED


@pytest.fixture
def engine(monkeypatch):
    """In place of whisper.cpp: says the same of each chunk. `heard` are those it was given."""

    class Engine:
        def __init__(self) -> None:
            self.heard: list[int] = []
            self.before_each = lambda index: asyncio.sleep(0)

        async def transcribe(self, _transcriber, _read, chunks, _options, _folder):
            for chunk in chunks:
                self.heard.append(chunk.index)
                await self.before_each(chunk.index)
                words = tuple(Word(text, 1.0, 2.0, 0.9) for text in TEXTS[0])
                said = Segment(1.0, 2.0, " ".join(TEXTS[0]), words, 0.9)
                yield ChunkTranscript(chunk.index, "en", (said,), 1.0, 1.0)

    engine = Engine()
    monkeypatch.setattr(pipeline_service, "transcribe_chunks", engine.transcribe)
    monkeypatch.setattr(pipeline_service, "make_transcriber", lambda *_: None)
    return engine


def unit(*chunks: int, holder: str = US):
    return a_unit(UnitKind.TRANSCRIBE, chunks=list(chunks), holder=holder)


async def job_of(parts) -> JobModel:
    return await parts.jobs.get_job(JOB)


async def test_the_last_batch_leads_to_the_merge(parts, engine):
    await stored(parts, diarization=None)
    await store_chunks(parts, (PENDING,) * 3)
    await parts.pipeline.transcribe(unit(0, 1))
    assert await statuses(parts) == [DONE, DONE, PENDING]
    assert (await job_of(parts)).progress.chunks_done == 2
    assert (await job_of(parts)).stage is Stage.TRANSCRIBE
    await parts.units.delete_units(JOB)
    await parts.pipeline.transcribe(unit(2))
    assert engine.heard == [0, 1, 2]
    assert (await job_of(parts)).stage is Stage.MERGE
    assert "transcribe" in (await job_of(parts)).timings
    assert await unit_ids(parts) == ["merge"]


async def test_what_is_done_is_not_done_again(parts, engine):
    await stored(parts, diarization=None)
    await store_chunks(parts, (DONE, PENDING, FAILED))
    await parts.pipeline.transcribe(unit(0, 1, 2))
    assert engine.heard == [1]
    assert await unit_ids(parts) == ["merge"]


async def test_with_nothing_left_to_do_the_job_goes_on(parts, engine):
    """An earlier attempt died between the last result and what comes next."""
    await stored(parts, diarization=None)
    await store_chunks(parts, (DONE, DONE))
    await parts.pipeline.transcribe(unit(0, 1))
    assert engine.heard == []
    assert await unit_ids(parts) == ["merge"]


async def test_results_before_a_failure_are_kept(parts, engine):
    await stored(parts, diarization=None)
    await store_chunks(parts, (PENDING,) * 3)

    async def crash_at_the_third(index):
        if index == 2:
            raise EngineFailed("whisper-cli crashed.")

    engine.before_each = crash_at_the_third
    with pytest.raises(EngineFailed):
        await parts.pipeline.transcribe(unit(0, 1, 2))
    assert await statuses(parts) == [DONE, DONE, PENDING]
    assert (await job_of(parts)).progress.chunks_done == 2
    assert await unit_ids(parts) == []
    assert list(parts.settings.temp_dir.iterdir()) == []


async def test_who_lost_the_unit_stops_at_the_next_result(parts, engine):
    await stored(parts, diarization=None)
    await store_chunks(parts, (PENDING,) * 4)

    async def lost_at_the_second(index):
        if index == 1:
            await parts.chunks.claim(JOB, range(4), "another")

    engine.before_each = lost_at_the_second
    await parts.pipeline.transcribe(unit(0, 1, 2, 3))
    assert engine.heard == [0, 1]
    assert await statuses(parts) == [DONE, PENDING, PENDING, PENDING]
    holders = [chunk.holder for chunk in await parts.chunks.get_chunks(JOB)]
    assert holders == [US, "another", "another", "another"]


@pytest.mark.parametrize("status", sorted(set(JobStatus) - {JobStatus.PROCESSING}))
async def test_a_job_that_is_not_being_processed_costs_no_engine_time(parts, engine, status):
    await stored(parts, status=status, diarization=None)
    await store_chunks(parts, (PENDING,) * 2)
    await parts.pipeline.transcribe(unit(0, 1))
    assert engine.heard == []
    assert await statuses(parts) == [PENDING] * 2


async def test_a_task_deleted_meanwhile_leaves_nothing(parts, engine):
    await stored(parts, diarization=None)
    await store_chunks(parts, (PENDING,) * 2)

    async def deleted(_):
        if await job_of(parts):
            await parts.tasks.delete_task("ann", JOB)

    engine.before_each = deleted
    await parts.pipeline.transcribe(unit(0, 1))
    assert engine.heard == [0]
    assert await parts.chunks.count(JOB) == 0
    assert await unit_ids(parts) == []
