"""The merge of a job with chunks that could not be transcribed: a transcript with gaps."""

from __future__ import annotations

import pytest

from repositories.models import ChunkStatus, JobOptions, JobStatus, Stage, UnitKind
from services.lifecycle import audio_key
from tests.services.support import (
    CRASHED,
    JOB,
    a_unit,
    claimed,
    finish_chunks,
    kept,
    put,
    store_chunks,
    stored,
)
from worker.formats import FORMATS

DONE, PENDING, FAILED = ChunkStatus.DONE, ChunkStatus.PENDING, ChunkStatus.FAILED
MERGE = a_unit(UnitKind.MERGE)


async def merged(parts, *chunks: ChunkStatus) -> dict:
    """Merge a job with these chunks, and return its transcript."""
    await stored(
        parts, stage=Stage.MERGE, diarization=None, duration=10.0 * len(chunks),
        options=JobOptions(model="demo-en"),
    )  # fmt: skip
    await store_chunks(parts, chunks)
    await parts.merging.merge(MERGE)
    _, values = await parts.tasks.get_task_result("ann", JOB)
    return values


async def test_gaps_are_where_nothing_could_be_transcribed(parts):
    values = await merged(parts, DONE, FAILED, DONE, FAILED)
    assert values["gaps"] == [
        {"start": 10.0, "end": 20.0, "reason": CRASHED.message},
        {"start": 30.0, "end": 40.0, "reason": CRASHED.message},
    ]
    assert [segment["start"] for segment in values["segments"]] == [1.0, 21.0]
    first, second = values["warnings"]
    assert first.startswith("From 0:00:10 to 0:00:20 nothing could be transcribed")
    assert CRASHED.message in first
    assert second.startswith("From 0:00:30 to 0:00:40")
    job = await parts.jobs.get_job(JOB)
    assert (job.status, job.result.gaps) == (JobStatus.COMPLETED, 2)


async def test_without_gaps_there_is_nothing_to_warn_of(parts):
    values = await merged(parts, DONE, DONE)
    assert (values["gaps"], values["warnings"]) == ([], [])
    assert (await parts.jobs.get_job(JOB)).result.gaps == 0


@pytest.mark.parametrize("name", ["txt", "srt", "vtt", "tsv"])
async def test_every_format_shows_them(parts, name):
    text = FORMATS[name].render(await merged(parts, DONE, FAILED))
    assert text.index("morning.") < text.index("[not transcribed]")


async def test_gaps_can_be_tried_again_and_are_gone(parts):
    await merged(parts, DONE, FAILED)
    again = await parts.tasks.retry_task("ann", JOB)
    await put(parts, audio_key(JOB, again.attempt), "as if prepared again")
    assert (again.status, again.stage, again.attempt) == (JobStatus.PENDING, Stage.PREPARE, 2)
    assert await parts.chunks.pending_indexes(JOB) == [1]
    prepare = await claimed(parts, UnitKind.PREPARE)
    await finish_chunks(parts, 1)
    moved = {"status": "processing", "stage": "merge"}
    await parts.database.get_collection("jobs").update_one({"_id": JOB}, {"$set": moved})
    await parts.units.finish(prepare)

    await parts.merging.merge(MERGE)
    job, values = await parts.tasks.get_task_result("ann", JOB)
    assert (values["gaps"], values["warnings"], job.all_warnings) == ([], [], [])
    assert values["text"] == "Good morning. Thank you."
    assert await kept(parts) == [job.result.object.rpartition("/")[2]]


async def test_a_merge_of_an_earlier_attempt_does_not_complete_the_next(parts, monkeypatch):
    """It was cancelled and retried while the first merge was under way."""
    await stored(parts, stage=Stage.MERGE, diarization=None)
    await store_chunks(parts)
    read = parts.chunks.get_chunks

    async def retried_meanwhile(job_id):
        found = await read(job_id)
        await parts.database.get_collection("jobs").update_one(
            {"_id": JOB}, {"$set": {"attempt": 2}}
        )
        return found

    monkeypatch.setattr(parts.chunks, "get_chunks", retried_meanwhile)
    await parts.merging.merge(MERGE)
    job = await parts.jobs.get_job(JOB)
    assert (job.status, job.result) == (JobStatus.PROCESSING, None)
    assert await kept(parts) == []
