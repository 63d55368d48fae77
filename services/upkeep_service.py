"""What has to be seen to, again and again, so that nothing is lost and nothing is left over.

Every method is safe to run in many processes at once, and at any time.
"""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta

from core.clock import utc_now
from core.config import Settings
from core.logger import bound, logged_operation, logger
from core.storage import ObjectStat, ObjectStore
from core.workspace import remove_abandoned
from repositories.delivery_repository import DeliveryRepository
from repositories.direct_upload_repository import DirectUploadRepository
from repositories.task_repository import TaskRepository
from repositories.turn_repository import TurnRepository
from repositories.unit_repository import UnitRepository
from repositories.upload_key_repository import UploadKeyRepository
from services.endings import Endings
from services.lifecycle import JOBS_PREFIX, is_complete, job_of_key, known_speaker_key
from services.planner import Planner

# A job that is about to get its next unit, or an object its job, is not a lost one.
_SETTLED_SECONDS = 10.0
_OWN_FILES_SECONDS = 30.0
_MOST_AT_ONCE = 200
# An upload that was about to become a task when its time was over may still do so.
_CLAIMING = timedelta(minutes=1)


class UpkeepService:
    """The reconciler's work.

    Every method may raise `DatabaseUnavailable` or `StorageUnavailable` (both retryable).
    """

    def __init__(
        self,
        settings: Settings,
        jobs: TaskRepository,
        units: UnitRepository,
        keys: UploadKeyRepository,
        direct_uploads: DirectUploadRepository,
        deliveries: DeliveryRepository,
        turns: TurnRepository,
        store: ObjectStore,
        planner: Planner,
        endings: Endings,
    ) -> None:
        self._settings = settings
        self._jobs = jobs
        self._units = units
        self._keys = keys
        self._direct_uploads = direct_uploads
        self._deliveries = deliveries
        self._turns = turns
        self._store = store
        self._planner = planner
        self._endings = endings
        self._files_swept_at = 0.0

    async def expire_leases(self) -> None:
        """Open the units whose holders have vanished."""
        if expired := await self._units.expire_leases():
            logger.warning("{} units were left by their consumers: others may take them", expired)

    async def sweep_own_files(self) -> None:
        """Remove the working folders of this machine's processes that were killed."""
        if time.monotonic() - self._files_swept_at < _OWN_FILES_SECONDS:
            return
        self._files_swept_at = time.monotonic()
        grace = min(self._settings.orphan_grace_seconds, 60.0)
        if removed := await asyncio.to_thread(remove_abandoned, self._settings.temp_dir, grace):
            logger.warning("{} abandoned working folders were removed", removed)

    async def sweep(self) -> None:
        """Go over everything stored, if it is our turn: for all machines, one does it at a time."""
        if not await self._turns.take("sweep", self._settings.sweep_seconds):
            return
        with logged_operation("sweep", quiet=True):
            await self._resume_idle_jobs()
            await self._delete_expired_jobs()
            await self._keys.delete_expired()
            await self._direct_uploads.delete_expired(utc_now() - _CLAIMING)
            await self._deliveries.delete_expired()
            # Looking at every object takes a while where there are many.
            if await self._turns.take("orphans", self._settings.orphan_grace_seconds / 2):
                await self._store.remove_partial(self._settings.orphan_grace_seconds)
                await self._remove_orphans()

    async def _resume_idle_jobs(self) -> None:
        """Add the next unit of jobs that a crash left without one."""
        idle_since = utc_now() - timedelta(seconds=_SETTLED_SECONDS)
        # All of them: those that wait their turn look idle, too.
        idle = await self._jobs.get_idle_jobs(idle_since, 2 * self._settings.max_open_tasks)
        for job_id in await self._units.jobs_without_units([job.id for job in idle]):
            with bound(job_id=job_id):
                logger.warning("nothing was planned for a job that has not ended: resuming it")
                await self._planner.advance(job_id)

    async def _delete_expired_jobs(self) -> None:
        for job in await self._jobs.get_expired_jobs(utc_now(), _MOST_AT_ONCE):
            if job.status.is_terminal:
                with bound(job_id=job.id), logged_operation("delete expired task"):
                    await self._endings.delete(job)

    async def _remove_orphans(self) -> None:
        """Remove what nobody needs that was not stored just now: a killed process left it."""
        before = utc_now() - timedelta(seconds=self._settings.orphan_grace_seconds)
        stored: dict[str, list[ObjectStat]] = {}
        for stat in await self._store.list(JOBS_PREFIX):
            if job_id := job_of_key(stat.key):
                stored.setdefault(job_id, []).append(stat)
        old = {
            job_id: [stat.key for stat in stats]
            for job_id, stats in stored.items()
            if max(stat.modified_at for stat in stats) < before
        }
        # What may still become a task belongs to one already.
        missing = await self._jobs.missing_of(old.keys() - await self._direct_uploads.known_of(old))
        for job_id in missing:
            with bound(job_id=job_id):
                logger.warning("removing what was stored for a task that is not there")
                await self._endings.forget_stored(job_id)
        for job_id in old.keys() - missing:
            if not is_complete(old[job_id]):
                await self._remove_unused(job_id, old[job_id])

    async def _remove_unused(self, job_id: str, keys: list[str]) -> None:
        """Remove what a job that has ended does not refer to."""
        job = await self._jobs.get_job(job_id)
        if job is None or not job.status.is_terminal:
            return
        used = {job.source.object}
        used |= {known_speaker_key(job_id, at) for at in range(len(job.options.known_speakers))}
        if job.result is not None:
            used.add(job.result.object)
        elif job.diarization is not None and job.diarization.object:
            used.add(job.diarization.object)  # for another attempt
        for key in set(keys) - used:
            with bound(job_id=job_id):
                logger.warning("removing an object that the task does not use: {}", key)
                await self._store.delete(key)
