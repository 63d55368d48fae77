"""Lists of jobs: which of them, in which order, page by page."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from core.database import Collection
from repositories.document import to_milliseconds
from repositories.models import DiarizationState, JobModel, JobStatus
from repositories.paging import make_cursor, read_cursor


@dataclass(frozen=True)
class TaskFilter:
    """Which jobs; None is all.

    Attributes:
        status: In this state.
        created_after: Created at this moment or later.
        created_before: Created before this moment.
        language: With a transcript in this language.
        file_name: With this in the name of the recording, in capitals or not.
        diarized: Whether the transcript says who speaks.
    """

    status: JobStatus | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    language: str | None = None
    file_name: str | None = None
    diarized: bool | None = None

    def to_query(self, owner: str) -> dict[str, Any]:
        """Return the MongoDB query for an owner's jobs, but for the moment of creation."""
        # `$eq`: for a plain value, the embedded wire server looks into every document for arrays.
        query: dict[str, Any] = {"owner": {"$eq": owner}}
        if self.status is not None:
            query["status"] = {"$eq": self.status.value}
        if self.language is not None:
            query["result.language"] = {"$eq": self.language}
        if self.file_name is not None:
            query["source.file_name"] = {"$regex": re.escape(self.file_name), "$options": "i"}
        if self.diarized is not None:
            operator = "$eq" if self.diarized else "$ne"
            query["diarization.state"] = {operator: DiarizationState.DONE.value}
        return query

    def created_bounds(self) -> dict[str, int]:
        """Return the bounds of the moment of creation, as MongoDB operators."""
        after, before = self.created_after, self.created_before
        return ({} if after is None else {"$gte": to_milliseconds(after)}) | (
            {} if before is None else {"$lt": to_milliseconds(before)}
        )


EVERY_TASK = TaskFilter()


@dataclass(frozen=True)
class JobPage:
    """Some jobs in order, and where the next page starts (None after the last)."""

    jobs: list[JobModel]
    next_cursor: str | None


async def list_page(
    jobs: Collection,
    owner: str,
    which: TaskFilter,
    *,
    limit: int,
    cursor: str | None,
    oldest_first: bool = False,
) -> JobPage:
    """Return one page of an owner's jobs.

    A cursor is a place among all jobs of the owner: with another filter, or in the other order, it
    is the same place.

    Raises:
        InvalidInput: The cursor is not one that this function returned.
    """
    query, bounds = which.to_query(owner), which.created_bounds()
    direction = 1 if oldest_first else -1
    order = [("created_at", direction), ("_id", direction)]
    found: list[JobModel] = []
    if cursor is not None:
        # Two queries instead of an `$or`, for which the embedded wire server reads every document.
        moment, last_id = read_cursor(cursor)
        if _is_within(moment, bounds):
            same = await _find(jobs, query | {"created_at": {"$eq": moment}}, order, 0)
            found = [
                job for job in same if (job.id > last_id if oldest_first else job.id < last_id)
            ]
        bounds = _beyond(moment, bounds, oldest_first=oldest_first)
    missing = limit + 1 - len(found)
    if missing > 0:
        others = query | ({"created_at": bounds} if bounds else {})
        found += await _find(jobs, others, order, missing)
    last = found[limit - 1] if len(found) > limit else None
    return JobPage(found[:limit], make_cursor(last.created_at, last.id) if last else None)


async def _find(
    jobs: Collection, query: dict[str, Any], order: list[tuple[str, int]], limit: int
) -> list[JobModel]:
    cursor = jobs.find(query).sort(order).limit(limit)
    return [JobModel.from_dict(document) async for document in cursor]


def _is_within(moment: int, bounds: dict[str, int]) -> bool:
    return bounds.get("$gte", moment) <= moment < bounds.get("$lt", moment + 1)


def _beyond(moment: int, bounds: dict[str, int], *, oldest_first: bool) -> dict[str, int]:
    """Return bounds narrowed to what is behind a moment."""
    if oldest_first:
        return bounds | {"$gte": max(bounds.get("$gte", 0), moment + 1)}
    return bounds | {"$lt": min(bounds.get("$lt", moment), moment)}
