"""The same recording again: its transcript is there already, and is taken over."""

from __future__ import annotations

import json

from core.config import Settings
from core.errors import NotFound
from core.logger import logger
from core.storage import ObjectStore
from repositories.chunk_repository import ChunkRepository
from repositories.models import (
    ChunkModel,
    DiarizationState,
    JobCreate,
    JobModel,
    JobStatus,
    Stage,
)
from repositories.task_repository import TaskRepository
from services.engines import pipeline_name
from services.lifecycle import ending, transcript_key
from services.merge_service import put_json


class ReuseService:
    """Finds transcripts that can be taken over."""

    def __init__(
        self, settings: Settings, jobs: TaskRepository, chunks: ChunkRepository, store: ObjectStore
    ) -> None:
        self._settings = settings
        self._jobs = jobs
        self._chunks = chunks
        self._store = store

    async def finished(self, create: JobCreate) -> JobModel | None:
        """Create a job that is completed from the start, if its owner has had the same done.

        Raises:
            DatabaseUnavailable: MongoDB cannot be reached (retryable).
            StorageUnavailable: The object store cannot be reached (retryable).
        """
        if not self._settings.reuse_transcripts:
            return None
        for earlier in await self._jobs.get_completed_of(create.owner, create.source.sha256):
            if earlier.options == create.options and self._is_as_new(earlier):
                try:
                    return await self._take_over(create, earlier)
                except NotFound:  # it is being deleted
                    continue
        return None

    def _is_as_new(self, job: JobModel) -> bool:
        """Whether a job's transcript is what working on it now would make."""
        if job.result is None or job.result.gaps:
            return False
        found = job.diarization
        if not job.options.diarize:
            return found is None
        return (
            found is not None
            and found.state is DiarizationState.DONE
            and found.counts == job.options.counts
            and found.model == pipeline_name(self._settings)
            and found.threshold in (None, self._settings.known_speaker_threshold)
        )

    async def _take_over(self, create: JobCreate, earlier: JobModel) -> JobModel:
        assert earlier.result is not None
        values = json.loads(await self._store.read(earlier.result.object))
        key = transcript_key(create.id, "reused")
        await put_json(self._store, self._settings, key, {**values, "job_id": create.id})
        # The words of each chunk as well: for them, the speakers may be asked for again.
        chunks = [
            chunk.model_copy(
                update={"id": ChunkModel.make_id(create.id, chunk.index), "job_id": create.id}
            )
            for chunk in await self._chunks.get_chunks(earlier.id)
        ]
        await self._chunks.add_chunks(create.id, chunks)
        job = JobModel(**create.model_dump())
        ended = ending(job)
        logger.info("the transcript of task {} is taken over", earlier.id)
        return await self._jobs.create_job(
            create,
            status=JobStatus.COMPLETED,
            stage=Stage.DONE,
            progress=earlier.progress,
            duration=earlier.duration,
            diarization=earlier.diarization,
            result=earlier.result.model_copy(update={"object": key}),
            warnings=earlier.warnings,
            created_at=job.created_at,
            finished_at=ended.finished_at,
            expires_at=ended.expires_at,
            follow_up=True,
            reused_from=earlier.id,
        )
