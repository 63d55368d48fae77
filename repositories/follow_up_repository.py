"""Queries over jobs that have ended, and for which something is still to be done.

A job is taken for a while, by compare-and-set; what was found of it names its end, so that nothing
is recorded for a job that has been begun anew meanwhile.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from core.clock import utc_now
from core.database import MongoDB, translate_mongo_error
from core.logger import logged_operation
from repositories.document import to_milliseconds
from repositories.models import JobModel, JobStatus

_ENDED = [status.value for status in JobStatus if status.is_terminal]


class FollowUpRepository:
    """The same `jobs` collection as that of `TaskRepository`.

    Every method may raise `DatabaseUnavailable` (retryable).
    """

    def __init__(self, database: MongoDB) -> None:
        self._jobs = database.get_collection("jobs")

    async def ensure_indexes(self) -> None:
        """Create the index that the queries below use; an existing one stays."""
        with _operation("create follow-up index"):
            await self._jobs.create_index([("follow_up", 1), ("follow_up_at", 1)])

    async def claim(self, lease_seconds: float) -> JobModel | None:
        """Take a job that is to be followed up and that nobody is at, None if there is none.

        Args:
            lease_seconds: After this time others may take it.
        """
        now = utc_now()
        query = {
            "follow_up": {"$eq": True},
            "follow_up_at": {"$lte": to_milliseconds(now)},
            "status": {"$in": _ENDED},
        }
        until = to_milliseconds(now + timedelta(seconds=lease_seconds))
        changes = {"$set": {"follow_up_at": until}, "$inc": {"follow_up_attempts": 1}}
        with _operation("claim follow-up"):
            document = await self._jobs.find_one_and_update(
                query, changes, sort=[("follow_up_at", 1), ("_id", 1)], return_document=True
            )
        return None if document is None else JobModel.from_dict(document)

    async def finish(self, job: JobModel) -> bool:
        """Record that all is done after this end of a job; False if it has been begun anew."""
        return await self._change(job, {"$set": {"follow_up": False}})

    async def postpone(self, job: JobModel, seconds: float, *, counts: bool) -> bool:
        """Let a job be taken again after a while; `counts` is whether the attempt does."""
        until = to_milliseconds(utc_now() + timedelta(seconds=seconds))
        changes: dict[str, Any] = {"$set": {"follow_up_at": until}}
        if not counts:
            changes["$inc"] = {"follow_up_attempts": -1}
        return await self._change(job, changes)

    async def _change(self, job: JobModel, changes: dict[str, Any]) -> bool:
        assert job.finished_at is not None
        query = {"_id": job.id, "finished_at": to_milliseconds(job.finished_at)}
        with _operation("change follow-up", job_id=job.id):
            result = await self._jobs.update_one(query, changes)
        return result.matched_count == 1


def _operation(name: str, **fields: str) -> Any:
    return logged_operation(name, translate=translate_mongo_error, quiet=True, **fields)
