"""Searching transcripts for words: which segments of which tasks have them, and where.

A segment is found when all words and phrases of the query occur in it. The index (see
`repositories.segment_repository`) says in which segments the words may be; their texts decide.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass

from core.errors import NotFound
from core.logger import bound, logged_operation, logger
from core.storage import ObjectStore
from repositories.models import JobModel
from repositories.segment_repository import Indexed, Segment, SegmentRepository, place_of
from repositories.task_repository import TaskRepository
from services.lifecycle import transcript_version
from services.search_terms import parse_query, terms_of
from services.search_walk import Cursor, Hit, SearchFilter, Walk


@dataclass(frozen=True)
class SearchPage:
    """Some hits, the newest task's first, and where the next page starts (None after the last)."""

    hits: list[Hit]
    next_cursor: str | None


class SearchService:
    """The use cases of searching.

    Every method may raise `DatabaseUnavailable` (retryable).
    """

    def __init__(
        self, jobs: TaskRepository, segments: SegmentRepository, store: ObjectStore
    ) -> None:
        self._jobs = jobs
        self._segments = segments
        self._store = store

    async def index(self, job: JobModel) -> None:
        """Let a job's transcript be found; of one without, there is nothing to be found.

        Until that is done, the transcript before is found, and never both.

        Raises:
            StorageUnavailable: The object store cannot be reached (retryable).
        """
        if job.result is None:
            return
        key, version = job.result.object, transcript_version(job.result.object)
        with bound(job_id=job.id), logged_operation("index transcript") as outcome:
            if job.indexed != version:
                try:
                    content = await self._store.read(key)
                except NotFound:
                    logger.info("the transcript was replaced or deleted: it is not indexed")
                    return
                # In a thread: of ten hours it takes seconds, in which others are to be served.
                segments, numbers = await asyncio.to_thread(_read, content)
                outcome.update(segments=len(segments), terms=len(numbers))
                entry = Indexed(job.owner, job.id, version, place_of(job.created_at, job.id))
                await self._segments.add(entry, segments, numbers)
            # Those that are there before ours becomes the one that is found are older ones. What
            # comes after may be newer, and is not ours to remove.
            versions = await self._segments.get_versions(job.id)
            if await self._jobs.set_indexed(job.id, key, version):
                unused = versions - {version}
            else:  # another transcript is there, which is indexed by itself, or the job is gone
                now = await self._jobs.get_job(job.id)
                unused = set() if now is not None and now.indexed == version else {version}
            for old in unused:
                await self._segments.delete(job.id, old)

    async def search(
        self,
        owner: str,
        text: str,
        where: SearchFilter | None = None,
        *,
        limit: int,
        cursor: str | None = None,
    ) -> SearchPage:
        """Return one page of an owner's segments in which all of a query occurs.

        A page may have fewer hits than `limit`, or none, although there is a next one: where a
        great many segments have the words of a phrase, but not the phrase.

        Raises:
            InvalidInput: There is nothing to search for, it is too long, or the cursor is not one
                that this method returned (codes `empty_query`, `query_too_long`,
                `invalid_cursor`).
        """
        query = parse_query(text)
        after = None if cursor is None else Cursor.read(cursor)
        walk = Walk(self._jobs, self._segments, owner, query, where or SearchFilter(), after)
        with logged_operation("search", quiet=True) as outcome:
            hits = await walk.collect(limit + 1)
            outcome.update(tasks=walk.tasks, texts=walk.texts, hits=len(hits))
        if len(hits) > limit:
            last = hits[limit - 1]
            reached = Cursor(place_of(last.job.created_at, last.job.id), last.number)
            return SearchPage(hits[:limit], str(reached))
        return SearchPage(hits, None if walk.reached is None else str(walk.reached))


def _read(content: bytes) -> tuple[list[Segment], dict[str, list[int]]]:
    """Return a transcript's segments, and for each word the numbers of those that have it."""
    segments: list[Segment] = []
    numbers: dict[str, list[int]] = {}
    for at, values in enumerate(json.loads(content)["segments"]):
        text, speaker = values["text"], values.get("speaker")
        segments.append(Segment(values["start"], values["end"], speaker, text))
        for term in terms_of(text):
            numbers.setdefault(term, []).append(at)
    return segments, numbers
