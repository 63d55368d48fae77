"""The stage before all others: recordings that are not here yet are fetched and looked into.

Either from an address that a client named, or from where a client has put them in the store.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from core.clock import utc_now
from core.config import Settings
from core.download import download, too_large
from core.errors import AppError
from core.logger import logged_operation, logger
from core.outgoing import OutgoingClient
from core.storage import ObjectStore
from core.workspace import working_folder
from repositories.models import JobModel, JobStatus, JobUpdate, Source, Stage, UnitModel
from repositories.task_repository import TaskRepository
from services.endings import Endings
from services.lifecycle import begin, source_key
from services.planner import Planner
from services.recording import RECORDING_TYPE, look_into, measure, shown_name


class FetchService:
    """The stage `fetch`. It can be run twice, or by two consumers at once."""

    def __init__(
        self,
        settings: Settings,
        jobs: TaskRepository,
        store: ObjectStore,
        outgoing: OutgoingClient,
        planner: Planner,
        endings: Endings,
    ) -> None:
        self._settings = settings
        self._jobs = jobs
        self._store = store
        self._outgoing = outgoing
        self._planner = planner
        self._endings = endings

    async def fetch(self, unit: UnitModel) -> None:
        """Bring a recording here, check it as an upload is checked, and have it prepared.

        Raises:
            InvalidInput: It cannot be had, or cannot be used; the codes are those of `download` and
                of uploads.
            Unreachable: The other side fails (retryable).
            TransientError: Something of ours fails (retryable).
        """
        job = await begin(self._jobs, unit.job_id)
        if job is not None and job.stage is Stage.FETCH:
            assert unit.holder is not None
            # Of its own for each attempt, so that none takes away what another has stored.
            key = source_key(job.id, unit.holder) if job.source.url else job.source.object
            with logged_operation("fetch recording") as outcome:
                source = await self._fetch(job, key)
                outcome.update(size_bytes=source.size_bytes, duration_seconds=source.duration)
        await self._planner.advance(unit.job_id)

    async def _fetch(self, job: JobModel, key: str) -> Source:
        started = utc_now()
        with working_folder(self._settings.temp_dir) as folder:
            path = folder / "source"
            source = await self._bring(job.source, path)
            with path.open("rb") as file:
                size, sha256 = await asyncio.to_thread(measure, file)
                source = await look_into(self._settings, file, source)
            found = {"object": key, "size_bytes": size, "sha256": sha256, "url": None}
            source = source.model_copy(update=found)
            try:
                if job.source.url:
                    await self._put(key, path)
                await self._record(job, source, (utc_now() - started).total_seconds())
            except BaseException:
                await asyncio.shield(self._drop_unused(job.id, key))
                raise
        await self._drop_unused(job.id, key)
        return source

    async def _bring(self, source: Source, path: Path) -> Source:
        """Write the recording to a file; return what it is called."""
        limit = self._settings.max_upload_bytes
        if source.url is not None:
            name = await download(self._outgoing, source.url, path, max_bytes=limit)
            return source.model_copy(update={"file_name": shown_name(name)})
        # It was measured before, but whoever has its address may have put another there.
        if (await self._store.stat(source.object)).size_bytes > limit:
            raise too_large(limit)
        await self._store.download(source.object, path)
        return source

    async def _put(self, key: str, path: Path) -> None:
        """Store the recording; whoever is stopped meanwhile waits, so as to remove it again."""
        putting = asyncio.ensure_future(self._store.put_file(key, path, RECORDING_TYPE))
        try:
            await asyncio.shield(putting)
        except asyncio.CancelledError:
            await asyncio.gather(putting, return_exceptions=True)
            raise

    async def _record(self, job: JobModel, source: Source, seconds: float) -> None:
        """Move the job on, unless it was cancelled, deleted or moved meanwhile."""
        processing = JobStatus.PROCESSING
        await self._jobs.update_status(
            job.id,
            processing,
            allowed_from={processing},
            while_stage=Stage.FETCH,
            while_attempt=job.attempt,
            update=JobUpdate(
                stage=Stage.PREPARE, source=source, timings={"fetch": round(seconds, 3)}
            ),
        )

    async def _drop_unused(self, job_id: str, key: str) -> None:
        """Remove what was stored if the job has no use for it, or is gone."""
        try:
            job = await self._jobs.get_job(job_id)
            if job is None:
                await self._endings.forget_stored(job_id)
            elif job.source.object != key:
                logger.warning("what was fetched is no longer wanted")
                await self._store.delete(key)
        except AppError as error:
            logger.warning("left for the sweep: {}", error.message)
