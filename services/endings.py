"""How jobs end other than by being completed: they fail, are cancelled, or keep what they had.

Each ending happens once (by compare-and-set) and takes back the work that nobody needs any more;
whoever is at it notices when it next renews its lease.
"""

from __future__ import annotations

from core.errors import AppError
from core.logger import logger
from core.storage import ObjectStore
from repositories.chunk_repository import ChunkRepository
from repositories.models import (
    DiarizationState,
    JobError,
    JobModel,
    JobStatus,
    JobUpdate,
    Stage,
)
from repositories.segment_repository import SegmentRepository
from repositories.task_repository import TaskRepository
from repositories.unit_repository import UnitRepository
from services.lifecycle import audio_key, ending, job_prefix, may_become


class Endings:
    """Ends jobs.

    Every method may raise `DatabaseUnavailable`, and those that remove everything
    `StorageUnavailable` (both retryable).
    """

    def __init__(
        self,
        jobs: TaskRepository,
        chunks: ChunkRepository,
        units: UnitRepository,
        segments: SegmentRepository,
        store: ObjectStore,
    ) -> None:
        self._jobs = jobs
        self._chunks = chunks
        self._units = units
        self._segments = segments
        self._store = store

    async def fail(self, job: JobModel, error: JobError) -> None:
        """End a job with a reason. What has been transcribed stays, for another attempt."""
        if job.result is not None:
            await self.keep_result(job, error.message)
        elif await self._end(job, JobStatus.FAILED, ending(job, error=error)):
            logger.bind(code=error.code).error("job failed: {}", error.message)

    async def cancel(self, job: JobModel) -> None:
        """End a job because somebody asked for it; one with a transcript keeps that."""
        if job.result is not None:
            await self.keep_result(job, "It was cancelled.")
        elif await self._end(job, JobStatus.CANCELLED, ending(job)):
            logger.info("job cancelled")

    async def keep_result(self, job: JobModel, reason: str) -> None:
        """Complete a job that was worked on again, with the transcript that it had."""
        assert job.result is not None
        again = f"Trying again failed: {reason} Nothing has changed."
        state = DiarizationState.DONE
        # If its gaps were tried again, they are gaps again.
        if not await self._chunks.give_up_pending(
            job.id, JobError(code="not_retried", message=again, retryable=True)
        ):
            again = f"The speakers could not be found again: {reason} Nothing has changed."
            state = DiarizationState.FAILED
        changes = ending(job, stage=Stage.DONE)
        if job.diarization is None:
            changes.warnings = [*job.warnings, again]
        else:
            given_up = {"state": state, "warning": again, "object": None}
            changes.diarization = job.diarization.model_copy(update=given_up)
        if await self._end(job, JobStatus.COMPLETED, changes):
            logger.warning("the earlier transcript stays: {}", reason)

    async def delete(self, job: JobModel) -> None:
        """Remove everything stored for a job, whatever its state, and the job last."""
        # Cancelled first, so that no consumer begins another step while the rest is removed.
        cancelled, ended = JobStatus.CANCELLED, ending(job)
        ended.follow_up = False  # nobody is to hear of a task that is as good as gone
        await self._jobs.update_status(
            job.id, cancelled, allowed_from=may_become(cancelled), update=ended
        )
        await self.forget_stored(job.id)
        await self._jobs.delete_job(job.id)

    async def forget_stored(self, job_id: str) -> None:
        """Remove what is stored for a job that is not, or soon will not be, there."""
        await self._units.delete_units(job_id)
        await self._chunks.delete_chunks(job_id)
        await self._segments.delete(job_id)
        await self._store.delete_prefix(job_prefix(job_id))

    async def _end(self, job: JobModel, status: JobStatus, update: JobUpdate) -> bool:
        if not await self._jobs.update_status(
            job.id, status, allowed_from=may_become(status), update=update
        ):
            return False
        await self._units.delete_units(job.id)
        try:
            # The one large thing, and quickly made again from the upload.
            await self._store.delete(audio_key(job.id, job.attempt))
        except AppError as error:
            logger.warning("left for the sweep: {}", error.message)
        return True
