"""Completed jobs with made-up transcripts, and searches in them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from internal.container import Container
from repositories.models import JobModel, JobStatus, Result, Source, SpeakerModel, Stage
from services.search_walk import Hit, SearchFilter
from tests.services.support import put, stored

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


async def transcribed(
    parts: Container,
    job_id: str,
    texts: Sequence[str],
    *,
    version: str = "v1",
    speakers: Sequence[str | None] = (None,),
    language: str = "en",
    name: str = "a.wav",
    index: bool = True,
    **fields: Any,
) -> JobModel:
    """A completed job with a transcript of these segments; speakers take turns."""
    key = f"jobs/{job_id}/transcript-{version}.json"
    said = [
        {"id": at, "start": float(at), "end": at + 0.5, "text": text,
         "speaker": speakers[at % len(speakers)]}
        for at, text in enumerate(texts)
    ]  # fmt: skip
    await put(parts, key, {"segments": said})
    found = [
        SpeakerModel(id=speaker, label=f"Speaker {speaker[-1]}", speech_seconds=1.0)
        for speaker in speakers
        if speaker
    ]
    result = Result(
        object=key, language=language, duration=1.0, segments=len(texts), words=1, speakers=found
    )
    source = Source(object=f"jobs/{job_id}/source", file_name=name)
    values = {"status": JobStatus.COMPLETED, "stage": Stage.DONE, "source": source}
    job = await stored(parts, job_id, **values | {"result": result, "created_at": NOON} | fields)
    if index:
        await parts.search.index(job)
    return job


async def found(parts: Container, query: str, owner: str = "ann", **where: Any) -> list[Hit]:
    """All hits, page by page."""
    hits, cursor = [], None
    while True:
        page = await parts.search.search(
            owner, query, SearchFilter(**where), limit=3, cursor=cursor
        )
        hits += page.hits
        if (cursor := page.next_cursor) is None:
            return hits


def places(hits: Sequence[Hit]) -> list[tuple[str, int]]:
    return [(hit.job.id, hit.number) for hit in hits]


async def move_to(parts: Container, job: JobModel, version: str, texts: Sequence[str]) -> JobModel:
    """Give a job another transcript, as a merge does."""
    assert job.result is not None
    key = f"jobs/{job.id}/transcript-{version}.json"
    said = [{"start": 0.0, "end": 1.0, "text": text, "speaker": None} for text in texts]
    await put(parts, key, {"segments": said})
    changes = {"$set": {"result.object": key}}
    await parts.database.get_collection("jobs").update_one({"_id": job.id}, changes)
    now = await parts.jobs.get_job(job.id)
    assert now is not None
    return now


async def counts(parts: Container) -> tuple[int, int]:
    """How many documents the index has."""
    return tuple(
        [
            await parts.database.get_collection(name).count_documents({})
            for name in ("postings", "segments")
        ]
    )
