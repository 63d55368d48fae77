"""Queries over jobs. Driver errors come out as `core.errors`.

Changes of state are compare-and-set: they name the states that they may start from, and say
whether they happened.
"""

from __future__ import annotations

from collections.abc import Collection as Group
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from core.clock import utc_now
from core.database import MongoDB, translate_mongo_error
from core.errors import NotFound
from core.logger import logged_operation
from repositories.counting import count
from repositories.models import (
    DiarizationState,
    JobCreate,
    JobModel,
    JobStatus,
    JobUpdate,
    Stage,
    to_milliseconds,
)
from repositories.paging import NEWEST_FIRST, Page, find_page
from repositories.task_filter import EVERY_TASK, TaskFilter

_OPEN = (JobStatus.PENDING.value, JobStatus.PROCESSING.value)
_IDS_AT_ONCE = 1000


class TaskRepository:
    """The `jobs` collection.

    Every method may raise `DatabaseUnavailable` (retryable).
    """

    def __init__(self, database: MongoDB) -> None:
        self._jobs = database.get_collection("jobs")

    async def ensure_indexes(self) -> None:
        """Create the indexes that the queries below use; existing ones stay."""
        with logged_operation("create job indexes", translate=translate_mongo_error):
            # Without `_id`: the embedded wire server cannot index it beside other fields.
            await self._jobs.create_index([("owner", 1), ("created_at", -1)])
            await self._jobs.create_index([("owner", 1), ("status", 1), ("created_at", -1)])
            await self._jobs.create_index([("status", 1), ("created_at", 1)])
            await self._jobs.create_index([("owner", 1), ("source.sha256", 1)])
            await self._jobs.create_index([("expires_at", 1)])

    async def create_job(self, create: JobCreate, **known: Any) -> JobModel:
        """Insert a job: pending, unless further fields are `known`.

        Raises:
            Conflict: A job with this id exists.
        """
        job = JobModel(**create.model_dump(), **known)
        with _operation("insert job", job.id):
            await self._jobs.insert_one(job.to_dict())
        return job

    async def get_job(self, job_id: str, owner: str | None = None) -> JobModel | None:
        """Return a job, or None if there is none (or it belongs to somebody else)."""
        query = {"_id": job_id} if owner is None else {"_id": job_id, "owner": owner}
        with _operation("find job", job_id):
            document = await self._jobs.find_one(query)
        return None if document is None else JobModel.from_dict(document)

    async def require_job(self, job_id: str, owner: str) -> JobModel:
        """Return an owner's job.

        Raises:
            NotFound: There is none, or it belongs to somebody else.
        """
        job = await self.get_job(job_id, owner)
        if job is None:
            raise NotFound(
                "There is no task with this id. It may have been deleted.", code="task_not_found"
            )
        return job

    async def update_job(
        self, job_id: str, update: JobUpdate, *, while_status: Group[JobStatus] | None = None
    ) -> bool:
        """Set fields of a job.

        Args:
            job_id: Which job.
            update: The fields that were set in it are written.
            while_status: Only while the job is in one of these states.

        Returns:
            Whether there was such a job.
        """
        query: dict[str, Any] = {"_id": job_id}
        if while_status is not None:
            query["status"] = {"$in": [status.value for status in while_status]}
        changes = update.to_dict() | {"updated_at": to_milliseconds(utc_now())}
        with _operation("update job", job_id):
            result = await self._jobs.update_one(query, {"$set": changes})
        return result.matched_count == 1

    async def update_status(
        self,
        job_id: str,
        to: JobStatus,
        *,
        allowed_from: Group[JobStatus],
        while_stage: Stage | None = None,
        while_attempt: int | None = None,
        update: JobUpdate | None = None,
    ) -> bool:
        """Move a job to another state, if it is in one of `allowed_from`, with other changes.

        Args:
            job_id: Which job.
            to: Its new state; the same as before changes the rest alone.
            allowed_from: States that it may be in.
            while_stage: Only while the job is in this stage.
            while_attempt: Only while nobody has begun the job anew.
            update: What else is to be changed.

        Returns:
            Whether it moved. False means that somebody else was first or the job is gone.
        """
        query: dict[str, Any] = {
            "_id": job_id,
            "status": {"$in": [status.value for status in allowed_from]},
        }
        if while_stage is not None:
            query["stage"] = while_stage.value
        if while_attempt is not None:
            query["attempt"] = while_attempt
        changes = (update or JobUpdate()).to_dict()
        changes |= {"status": to.value, "updated_at": to_milliseconds(utc_now())}
        with _operation("update job status", job_id):
            result = await self._jobs.update_one(query, {"$set": changes})
        return result.matched_count == 1

    async def advance_stage(self, job_id: str, from_stage: Stage, to_stage: Stage) -> bool:
        """Move a processing job from one stage to the next; exactly one caller gets True."""
        query = {
            "_id": job_id,
            "status": JobStatus.PROCESSING.value,
            "stage": from_stage.value,
        }
        changes = {"stage": to_stage.value, "updated_at": to_milliseconds(utc_now())}
        with _operation("advance job stage", job_id):
            result = await self._jobs.update_one(query, {"$set": changes})
        return result.matched_count == 1

    async def add_chunk_done(self, job: JobModel) -> None:
        """Count one more finished chunk of a job that is being transcribed.

        The chunks themselves are not counted: for that, the embedded wire server reads all of what
        was heard so far. So a consumer that dies in between leaves one uncounted, and an answer
        that is lost may count one twice, until the merge sets it right.
        """
        query = {
            "_id": job.id,
            "stage": Stage.TRANSCRIBE.value,
            "progress.chunks_done": {"$lt": job.progress.chunks_total},
        }
        changes = {
            "$inc": {"progress.chunks_done": 1},
            "$set": {"updated_at": to_milliseconds(utc_now())},
        }
        with _operation("record progress", job.id):
            await self._jobs.update_one(query, changes)

    async def record_diarization_progress(self, job_id: str, revision: int, share: float) -> None:
        """Raise how far diarization is, 0 to 1; a lower value, arriving late, changes nothing."""
        changes = {
            "$max": {"diarization.progress": share},
            "$set": {"updated_at": to_milliseconds(utc_now())},
        }
        with _operation("record diarization progress", job_id):
            await self._jobs.update_one(_pending_diarization(job_id, revision), changes)

    async def settle_diarization(
        self,
        job_id: str,
        revision: int,
        state: DiarizationState,
        *,
        seconds: float | None = None,
        **outcome: str | float,
    ) -> bool:
        """Record how a diarization ended; of several that try, exactly one gets True.

        Args:
            job_id: Which job; it has to be processing.
            revision: Which of its diarizations.
            state: Done or failed.
            seconds: How long it took, for the job's timings.
            outcome: Further fields of `DiarizationModel`.
        """
        changes: dict[str, Any] = {f"diarization.{name}": v for name, v in outcome.items()}
        changes |= {
            "diarization.state": state.value,
            "updated_at": to_milliseconds(utc_now()),
        }
        if seconds is not None:
            changes["timings.diarize"] = seconds
        with _operation("settle diarization", job_id):
            result = await self._jobs.update_one(
                _pending_diarization(job_id, revision), {"$set": changes}
            )
        return result.matched_count == 1

    async def name_speakers(self, job_id: str, names: Mapping[str, str | None]) -> bool:
        """Set speakers' names, or with None remove them; only while the job is completed."""
        given = {f"speaker_names.{key}": name for key, name in names.items() if name is not None}
        removed = {f"speaker_names.{key}": "" for key, name in names.items() if name is None}
        changes: dict[str, Any] = {
            "$set": given | {"updated_at": to_milliseconds(utc_now())},
            **({"$unset": removed} if removed else {}),
        }
        query = {"_id": job_id, "status": JobStatus.COMPLETED.value}
        with _operation("name speakers", job_id):
            result = await self._jobs.update_one(query, changes)
        return result.matched_count == 1

    async def get_idle_jobs(self, untouched_since: datetime, limit: int) -> list[JobModel]:
        """Return jobs that have not ended and that nobody has changed since then."""
        query = {
            "status": {"$in": list(_OPEN)},
            "updated_at": {"$lt": to_milliseconds(untouched_since)},
        }
        with _operation("find idle jobs"):
            cursor = self._jobs.find(query).sort([("created_at", 1)]).limit(limit)
            return [JobModel.from_dict(document) async for document in cursor]

    async def get_expired_jobs(self, now: datetime, limit: int) -> list[JobModel]:
        """Return jobs that have been kept for as long as was asked."""
        query = {"expires_at": {"$lt": to_milliseconds(now)}}
        with _operation("find expired jobs"):
            cursor = self._jobs.find(query).limit(limit)
            return [JobModel.from_dict(document) async for document in cursor]

    async def get_completed_of(self, owner: str, sha256: str, limit: int = 20) -> list[JobModel]:
        """Return an owner's completed jobs over the same bytes, newest first."""
        query = {
            "owner": {"$eq": owner},
            "source.sha256": {"$eq": sha256},
            "status": {"$eq": JobStatus.COMPLETED.value},
        }
        with _operation("find completed jobs"):
            cursor = self._jobs.find(query).sort(NEWEST_FIRST).limit(limit)
            return [JobModel.from_dict(document) async for document in cursor]

    async def missing_of(self, job_ids: Group[str]) -> set[str]:
        """Return those of these ids that no job has."""
        missing = set(job_ids)
        with _operation("find missing jobs"):
            ids = list(job_ids)
            for at in range(0, len(ids), _IDS_AT_ONCE):
                some = ids[at : at + _IDS_AT_ONCE]
                cursor = self._jobs.find({"_id": {"$in": some}}, {"_id": 1})
                missing -= {document["_id"] async for document in cursor}
        return missing

    async def count_open(self, owner: str | None = None) -> int:
        """Return how many jobs have not ended, of one owner or of all."""
        query: dict[str, Any] = {"status": {"$in": list(_OPEN)}}
        if owner is not None:
            query["owner"] = owner
        with _operation("count open jobs"):
            return await count(self._jobs, query)

    async def count_pending_before(self, created_at: datetime) -> int:
        """Return how many pending jobs were created before a moment: the queue ahead."""
        query = {
            "status": {"$eq": JobStatus.PENDING.value},
            "created_at": {"$lt": to_milliseconds(created_at)},
        }
        with _operation("count pending jobs"):
            return await count(self._jobs, query)

    async def count_by_status(self) -> dict[str, int]:
        """Return how many jobs are in each state."""
        pipeline = [{"$group": {"_id": "$status", "count": {"$sum": 1}}}]
        with _operation("count jobs"):
            groups = [group async for group in self._jobs.aggregate(pipeline)]
        return {group["_id"]: group["count"] for group in groups}

    async def list_jobs(
        self,
        owner: str,
        which: TaskFilter = EVERY_TASK,
        *,
        limit: int,
        cursor: str | None,
        oldest_first: bool = False,
    ) -> Page[JobModel]:
        """Return one page of an owner's jobs, newest first unless asked otherwise.

        Raises:
            InvalidInput: The cursor is not one that this method returned.
        """
        with _operation("list jobs"):
            return await find_page(
                self._jobs,
                JobModel,
                which.to_query(owner),
                limit=limit,
                cursor=cursor,
                bounds=which.created_bounds(),
                oldest_first=oldest_first,
            )

    async def get_jobs(self, owner: str, job_ids: Group[str]) -> dict[str, JobModel]:
        """Return those of these jobs that are the owner's, by id."""
        if not job_ids:
            return {}
        query = {"_id": {"$in": list(job_ids)}, "owner": {"$eq": owner}}
        with _operation("find jobs"):
            found = [JobModel.from_dict(document) async for document in self._jobs.find(query)]
        return {job.id: job for job in found}

    async def set_indexed(self, job_id: str, transcript: str, version: str) -> bool:
        """Record which version of a transcript can be searched, while it is the job's transcript.

        Args:
            job_id: Which job.
            transcript: The object that the job's `result` has to name.
            version: Of that object.

        Returns:
            Whether it was recorded. False means that there is another transcript now, or no job.
        """
        query = {"_id": job_id, "result.object": transcript}
        with _operation("record indexed transcript", job_id):
            result = await self._jobs.update_one(query, {"$set": {"indexed": version}})
        return result.matched_count == 1

    async def delete_job(self, job_id: str) -> bool:
        """Remove a job's document; returns whether there was one."""
        with _operation("delete job", job_id):
            result = await self._jobs.delete_one({"_id": job_id})
        return result.deleted_count == 1


def _pending_diarization(job_id: str, revision: int) -> dict[str, Any]:
    return {
        "_id": job_id,
        "status": JobStatus.PROCESSING.value,
        "diarization.revision": revision,
        "diarization.state": DiarizationState.PENDING.value,
    }


def _operation(name: str, job_id: str | None = None) -> Any:
    fields = {} if job_id is None else {"job_id": job_id}
    return logged_operation(name, translate=translate_mongo_error, quiet=True, **fields)
