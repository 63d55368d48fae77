"""What a failed attempt at a unit of work means: another one, a smaller one, or the end of it."""

from __future__ import annotations

import errno
import random
import shutil
from datetime import timedelta

from core.clock import utc_now
from core.config import Settings
from core.errors import AppError, StorageUnavailable
from core.logger import logger
from repositories.chunk_repository import ChunkRepository
from repositories.models import JobError, JobModel, UnitKind, UnitModel
from repositories.task_repository import TaskRepository
from repositories.unit_repository import UnitRepository
from services.diarization_service import DiarizationService
from services.dispatcher import Dispatcher
from services.endings import Endings
from services.planner import Planner
from worker.errors import EngineFailed

# Pauses before another attempt: 2 s, 6 s, 18 s, 54 s, then a minute, each spread by half. With
# the five attempts of the default settings, an outage of a minute is outlasted.
_FIRST_BACKOFF_SECONDS = 2.0
_BACKOFF_FACTOR = 3.0
_LONGEST_BACKOFF_SECONDS = 60.0
# A consumer that vanishes is rarely the unit's fault. If it is, it is so every time.
_MOST_CRASHES = 10
# With less room than this, an engine that wrote nothing had no room to write it.
_NO_ROOM_BYTES = 4 * 1024 * 1024


class FailureService:
    """Settles failures.

    Every method may raise `DatabaseUnavailable` or `StorageUnavailable` (both retryable).
    """

    def __init__(
        self,
        settings: Settings,
        jobs: TaskRepository,
        chunks: ChunkRepository,
        units: UnitRepository,
        dispatcher: Dispatcher,
        planner: Planner,
        diarization: DiarizationService,
        endings: Endings,
    ) -> None:
        self._settings = settings
        self._jobs = jobs
        self._chunks = chunks
        self._units = units
        self._dispatcher = dispatcher
        self._planner = planner
        self._diarization = diarization
        self._endings = endings

    @staticmethod
    def is_worn_out(unit: UnitModel) -> bool:
        """Return whether a unit has cost so many consumers that it must not be tried again."""
        return unit.crashes >= _MOST_CRASHES

    async def settle(self, unit: UnitModel, error: Exception) -> None:
        """Decide what becomes of a unit, as claimed, after an attempt failed.

        Args:
            unit: What was attempted.
            error: What went wrong. Errors that are not ours count as retryable: they may be.
        """
        error = self._recognise(error)
        reason = _describe(error)
        failures = unit.failures + 1
        may_retry = reason.retryable and not self.is_worn_out(unit)
        if may_retry and failures < self._settings.job_max_attempts:
            pause = _backoff_seconds(failures)
            logger.warning("attempt {} failed; another follows in {:.0f} s", failures, pause)
            later = utc_now() + timedelta(seconds=pause)
            await self._units.release(unit, not_before=later, failures=failures, error=reason)
            return
        job = await self._jobs.get_job(unit.job_id)
        if job is not None and not job.status.is_terminal:
            if unit.kind is UnitKind.TRANSCRIBE and _may_be_the_audio(error):
                if await self._split(job, unit, reason):
                    return
                await self._give_up_chunk(job, unit, reason)
            elif unit.kind is UnitKind.DIARIZE:
                await self._diarization.give_up(job, unit.revision, reason)
            else:
                await self._endings.fail(job, reason)
        await self._planner.advance(unit.job_id)
        await self._units.finish(unit)

    async def _split(self, job: JobModel, unit: UnitModel, reason: JobError) -> bool:
        """Replace a batch by its halves, so that the chunk that fails is found; False if single."""
        assert unit.holder is not None
        left = [c.index for c in await self._chunks.claim(job.id, unit.chunks, unit.holder)]
        if len(left) < 2:
            return False
        middle = len(left) // 2
        logger.warning("a batch keeps failing: trying its {} chunks in halves", len(left))
        # Each half is tried once more before it is split in turn.
        failures = self._settings.job_max_attempts - 1
        second = self._dispatcher.batch(job, left[middle:], failures=failures)
        added = await self._units.add(job.owner, [second])
        await self._units.release(unit, failures=failures, error=reason, chunks=left[:middle])
        await self._dispatcher.wake([unit, *added])
        return True

    async def _give_up_chunk(self, job: JobModel, unit: UnitModel, reason: JobError) -> None:
        assert unit.holder is not None
        for chunk in await self._chunks.claim(job.id, unit.chunks, unit.holder):
            logger.error("chunk {} cannot be transcribed: {}", chunk.index, reason.message)
            await self._chunks.give_up(chunk, reason)

    def _recognise(self, error: Exception) -> Exception:
        """Return a full disk as what it is, whoever ran into it."""
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        if isinstance(error, EngineFailed):
            full = shutil.disk_usage(self._settings.temp_dir).free < _NO_ROOM_BYTES
        if not full:
            return error
        return StorageUnavailable(
            "There is no room for temporary files. Free some space in DATA_DIR.", code="disk_full"
        )


def _may_be_the_audio(error: Exception) -> bool:
    """Whether a chunk may be what the engine fails on: not where a server or a part is missing."""
    return isinstance(error, EngineFailed) or not isinstance(error, AppError)


def _describe(error: Exception) -> JobError:
    if isinstance(error, AppError):
        return JobError(code=error.error_code, message=error.message, retryable=error.retryable)
    message = "An unexpected error in the server stopped the job. Its log has the details."
    return JobError(code="internal_error", message=message, retryable=True)


def _backoff_seconds(failures: int) -> float:
    pause = _FIRST_BACKOFF_SECONDS * _BACKOFF_FACTOR ** (failures - 1)
    spread = random.uniform(0.5, 1.5)  # noqa: S311 - spreads load, guards nothing # nosec B311
    return min(pause, _LONGEST_BACKOFF_SECONDS) * spread
