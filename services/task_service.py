"""What clients can do with tasks (jobs, to the database): follow, fetch, list, cancel, delete."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from core.clock import utc_now
from core.errors import AppError, Conflict, NotFound
from core.logger import bound, logged_operation
from core.storage import ObjectStore
from repositories.chunk_repository import ChunkRepository
from repositories.models import (
    ChunkStatus,
    DiarizationModel,
    DiarizationState,
    JobModel,
    JobStatus,
    JobUpdate,
    Progress,
    Result,
    Stage,
)
from repositories.paging import Page
from repositories.task_filter import TaskFilter
from repositories.task_repository import TaskRepository
from services.dispatcher import Dispatcher
from services.endings import Endings
from services.planner import Planner
from services.speaker_service import name_in

# Shares of the work, for the percentage: decoding and merging are quick.
_PERCENT_PREPARED = 5.0
_PERCENT_TRANSCRIBED = 95.0
_NO_DIARIZER = (
    "No consumer serves the queue `diarization` now: the speakers wait for one "
    "(`python main.py worker --queue diarization`)."
)


@dataclass(frozen=True)
class TaskStatus:
    """A job and what follows from it.

    Attributes:
        job: The document.
        percent: 0 to 100, from finished chunks.
        eta_seconds: Expected time to the end at the speed so far; None before there is any.
        queue_position: Place among the jobs not begun, from 1; None once begun.
        notes: What a person who waits should know now; gone when it no longer holds.
    """

    job: JobModel
    percent: float
    eta_seconds: float | None
    queue_position: int | None
    notes: tuple[str, ...] = ()


class TaskService:
    """The use cases behind the API.

    Every method may raise `DatabaseUnavailable` or `StorageUnavailable` (both retryable). A task of
    another owner is a task that does not exist (`NotFound`).
    """

    def __init__(
        self,
        jobs: TaskRepository,
        chunks: ChunkRepository,
        store: ObjectStore,
        dispatcher: Dispatcher,
        planner: Planner,
        endings: Endings,
    ) -> None:
        self._jobs = jobs
        self._chunks = chunks
        self._store = store
        self._dispatcher = dispatcher
        self._planner = planner
        self._endings = endings

    async def get_task_status(self, owner: str, job_id: str) -> TaskStatus:
        """Return where a task stands.

        Raises:
            NotFound: There is no such task.
        """
        return await self.describe(await self._jobs.require_job(job_id, owner))

    async def describe(self, job: JobModel) -> TaskStatus:
        """Return where a task stands that has just been read."""
        position = None
        if job.status is JobStatus.PENDING:
            position = 1 + await self._jobs.count_pending_before(job.created_at)
        notes = await self._notes(job)
        return TaskStatus(job, percent_done(job), eta_seconds(job), position, notes)

    async def get_task_result(self, owner: str, job_id: str) -> tuple[JobModel, dict[str, Any]]:
        """Return a finished task and its transcript's JSON values.

        Raises:
            NotFound: There is no such task.
            Conflict: It has not finished, failed, or was cancelled (codes `not_finished`,
                `task_failed`, `task_cancelled`).
        """
        job = await self._jobs.require_job(job_id, owner)
        if job.status is JobStatus.FAILED and job.error is not None:
            raise Conflict(f"The task failed: {job.error.message}", code="task_failed")
        if job.status is JobStatus.CANCELLED:
            raise Conflict(
                "The task was cancelled: there is no transcript. Ask for one with `retry`.",
                code="task_cancelled",
            )
        if job.result is None:
            raise Conflict(
                f"The task is {job.status.value}: there is no transcript yet. Ask again when its "
                "status is `completed`.",
                code="not_finished",
                status=job.status.value,
                percent=percent_done(job),
            )
        job, content = await self._read_transcript(job, job.result)
        return job, name_in(json.loads(content), job.speaker_names)

    async def list_tasks(
        self,
        owner: str,
        which: TaskFilter,
        *,
        limit: int,
        cursor: str | None,
        oldest_first: bool = False,
    ) -> Page[JobModel]:
        """Return one page of an owner's tasks, newest first unless asked otherwise.

        Raises:
            InvalidInput: The cursor is not one that this method returned.
        """
        return await self._jobs.list_jobs(
            owner, which, limit=limit, cursor=cursor, oldest_first=oldest_first
        )

    async def cancel_task(self, owner: str, job_id: str) -> JobModel:
        """Stop working on a task; what runs for it ends within seconds.

        One that is worked on again keeps the transcript that it has. Cancelling twice is no error.

        Raises:
            Conflict: It has ended already (code `already_ended`).
        """
        job = await self._jobs.require_job(job_id, owner)
        if job.status in (JobStatus.COMPLETED, JobStatus.FAILED):
            raise Conflict(
                f"The task is {job.status.value} already: there is nothing to cancel.",
                code="already_ended",
                status=job.status.value,
            )
        with bound(job_id=job_id), logged_operation("cancel task"):
            await self._endings.cancel(job)
        return await self._jobs.require_job(job_id, owner)

    async def retry_task(self, owner: str, job_id: str) -> JobModel:
        """Work on a task again that failed, was cancelled, or has gaps; what is done stays done.

        Raises:
            Conflict: There is nothing to retry (code `nothing_to_retry`).
        """
        job = await self._jobs.require_job(job_id, owner)
        has_gaps = job.result is not None and job.result.gaps > 0
        retried = {JobStatus.FAILED, JobStatus.CANCELLED}
        allowed = retried | ({JobStatus.COMPLETED} if has_gaps else set())
        with bound(job_id=job_id), logged_operation("retry task"):
            if job.status in allowed:
                await self._chunks.reopen_failed(job_id)
            if not await self._jobs.update_status(
                job_id, JobStatus.PENDING, allowed_from=allowed, update=await self._restart(job)
            ):
                raise Conflict(
                    f"The task is {job.status.value}: only what failed, was cancelled, or has gaps "
                    "can be retried.",
                    code="nothing_to_retry",
                    status=job.status.value,
                )
            await self._planner.advance(job_id)
        return await self._jobs.require_job(job_id, owner)

    async def delete_task(self, owner: str, job_id: str) -> None:
        """Remove a task with everything stored for it, whatever its state.

        Consumers that work on it notice within seconds, and stop.
        """
        job = await self._jobs.require_job(job_id, owner)
        with bound(job_id=job_id), logged_operation("delete task"):
            await self._endings.delete(job)

    async def _restart(self, job: JobModel) -> JobUpdate:
        """Return the state of a job that is begun again, with the chunks that are done."""
        done = await self._chunks.count(job.id, ChunkStatus.DONE)
        update = JobUpdate(
            attempt=job.attempt + 1,
            # The normalised audio is gone and has to be made again; the chunks come out the same.
            stage=Stage.PREPARE if job.source.is_here else Stage.FETCH,
            progress=Progress(chunks_done=done, chunks_total=job.progress.chunks_total),
            error=None,
            finished_at=None,
            expires_at=None,
        )
        asked = job.diarization
        # Of a completed job, the turns have been laid over the words and are gone.
        if asked and (asked.state is DiarizationState.FAILED or job.result is not None):
            update.diarization = DiarizationModel(revision=asked.revision + 1, **asked.counts)
        return update

    async def _read_transcript(self, job: JobModel, result: Result) -> tuple[JobModel, bytes]:
        """Read a transcript; if another has just replaced it, that one and the job as it is now."""
        try:
            return job, await self._store.read(result.object)
        except NotFound:
            now = await self._jobs.require_job(job.id, job.owner)
            if now.result is None or now.result.object == result.object:
                raise
            return now, await self._store.read(now.result.object)

    async def _notes(self, job: JobModel) -> tuple[str, ...]:
        asked = job.diarization
        waits = asked is not None and asked.state is DiarizationState.PENDING and not asked.progress
        if not waits or job.status.is_terminal:
            return ()
        try:
            return () if await self._dispatcher.has_diarizer() else (_NO_DIARIZER,)
        except AppError:  # Redis is away; where the task stands is known all the same
            return ()


def percent_done(job: JobModel) -> float:
    """Return how much of a job is done, 0 to 100, with one decimal. Pure."""
    if job.status is JobStatus.COMPLETED:
        return 100.0
    match job.stage:
        case Stage.FETCH | Stage.PREPARE:
            return 0.0
        case Stage.TRANSCRIBE | Stage.DIARIZE:
            span = _PERCENT_TRANSCRIBED - _PERCENT_PREPARED
            return round(_PERCENT_PREPARED + span * _share_done(job), 1)
        case _:
            return _PERCENT_TRANSCRIBED


def _share_done(job: JobModel) -> float:
    """Return how far the two that run side by side are, 0 to 1: the mean, for each may be last."""
    transcribed = job.progress.chunks_done / max(job.progress.chunks_total, 1)
    if job.diarization is None:
        return transcribed
    settled = job.diarization.state is not DiarizationState.PENDING
    diarized = 1.0 if settled else job.diarization.progress
    if job.result is not None:  # transcribed long ago: only the speakers are asked for again
        return diarized
    return (transcribed + diarized) / 2


def eta_seconds(job: JobModel) -> float | None:
    """Return the expected time to the end at the speed so far, None before any is known. Pure."""
    if job.status is not JobStatus.PROCESSING or job.transcribing_since is None:
        return None
    done = _share_done(job)
    if done == 0 or job.result is not None:
        return None
    elapsed = (utc_now() - job.transcribing_since).total_seconds()
    return round(elapsed / done * (1 - done), 1)
