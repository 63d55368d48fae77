"""What is to be done next for a job: decided here, from what is recorded of it, and nowhere else.

Stages record what they did and then ask for this; so does the reconciler, for jobs that a crash
left between the two. Asking too often is harmless.
"""

from __future__ import annotations

from repositories.chunk_repository import ChunkRepository
from repositories.models import ChunkStatus, DiarizationState, JobModel, Stage
from repositories.task_repository import TaskRepository
from repositories.unit_repository import UnitRepository
from services.dispatcher import Dispatcher
from services.endings import Endings


class Planner:
    """Adds the units of work that a job needs next.

    Every method may raise `DatabaseUnavailable` (retryable).
    """

    def __init__(
        self,
        jobs: TaskRepository,
        chunks: ChunkRepository,
        units: UnitRepository,
        dispatcher: Dispatcher,
        endings: Endings,
    ) -> None:
        self._jobs = jobs
        self._chunks = chunks
        self._units = units
        self._dispatcher = dispatcher
        self._endings = endings

    async def advance(self, job_id: str) -> None:
        """Add whatever can be done now for a job, and is not being done already."""
        job = await self._jobs.get_job(job_id)
        if job is None or job.status.is_terminal:
            await self._units.delete_units(job_id)
            return
        match job.stage:
            case Stage.FETCH:
                await self._dispatcher.fetch(job)
            case Stage.PREPARE:
                await self._dispatcher.prepare(job)
            case Stage.TRANSCRIBE | Stage.DIARIZE:
                await self._advance_listening(job)
            case Stage.MERGE:
                await self._dispatcher.merge(job)

    async def _advance_listening(self, job: JobModel) -> None:
        """See to the chunks and the speakers, and to the merge once both are there.

        Both sides record their end before they ask, so that the later one sees both.
        """
        pending = await self._chunks.pending_indexes(job.id)
        if pending:
            units = await self._units.get_units(job.id)
            taken = {index for unit in units for index in unit.chunks}
            if left := [index for index in pending if index not in taken]:
                await self._dispatcher.transcribe(job, left)
        diarizing = job.diarization and job.diarization.state is DiarizationState.PENDING
        if diarizing:
            await self._dispatcher.diarize(job)
        if pending:
            return
        if diarizing:
            await self._jobs.advance_stage(job.id, Stage.TRANSCRIBE, Stage.DIARIZE)
        elif not await self._heard_nothing(job):
            for stage in (Stage.TRANSCRIBE, Stage.DIARIZE):
                await self._jobs.advance_stage(job.id, stage, Stage.MERGE)
            await self._dispatcher.merge(job)

    async def _heard_nothing(self, job: JobModel) -> bool:
        """End a job of whose speech not one chunk could be transcribed."""
        if not await self._chunks.count(job.id, ChunkStatus.FAILED):
            return False
        spoken = [chunk for chunk in await self._chunks.get_chunks(job.id) if chunk.has_speech]
        reasons = [chunk.error for chunk in spoken if chunk.status is ChunkStatus.FAILED]
        if len(reasons) < len(spoken) or reasons[0] is None:
            return False
        await self._endings.fail(job, reasons[0])
        return True
