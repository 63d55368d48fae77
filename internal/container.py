"""The one place where parts are put together. Both the API and the consumers get theirs here."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from core.config import Settings
from core.database import MongoDB, close_database, get_database
from core.logger import logger
from core.messaging import RedisQueueManager, get_queue_manager
from core.storage import ObjectStore, get_storage
from repositories.chunk_repository import ChunkRepository
from repositories.task_repository import TaskRepository
from services.diarization_service import DiarizationService
from services.dispatcher import Dispatcher
from services.merge_service import MergeService
from services.model_service import ModelService
from services.pipeline_service import PipelineService
from services.speaker_service import SpeakerService
from services.task_service import TaskService


@dataclass(frozen=True)
class Container:
    """Everything that a process needs, connected."""

    settings: Settings
    database: MongoDB
    store: ObjectStore
    queue: RedisQueueManager
    jobs: TaskRepository
    chunks: ChunkRepository
    models: ModelService
    tasks: TaskService
    speakers: SpeakerService
    pipeline: PipelineService
    diarization: DiarizationService
    merging: MergeService

    async def init_storage(self) -> None:
        """Create the indexes and the bucket or folder; what is there stays.

        Raises:
            TransientError: A server cannot be reached (retryable).
        """
        await self.jobs.ensure_indexes()
        await self.chunks.ensure_indexes()
        await self.store.prepare()


@asynccontextmanager
async def open_container(settings: Settings) -> AsyncIterator[Container]:
    """Build the parts from settings, and close them at the end. Call it after any fork."""
    settings.temp_dir.mkdir(parents=True, exist_ok=True)
    database = await get_database(settings)
    queue = get_queue_manager(settings)
    store = get_storage(settings)
    jobs, chunks = TaskRepository(database), ChunkRepository(database)
    models = ModelService(settings.models_dir, settings.models_url)
    dispatcher = Dispatcher(settings, queue)
    merging = MergeService(settings, jobs, chunks, store, dispatcher)
    diarization = DiarizationService(settings, jobs, store, merging)
    parts = (settings, jobs, chunks, store, dispatcher, models)
    try:
        yield Container(
            settings=settings,
            database=database,
            store=store,
            queue=queue,
            jobs=jobs,
            chunks=chunks,
            models=models,
            tasks=TaskService(*parts),
            speakers=SpeakerService(jobs, dispatcher),
            pipeline=PipelineService(*parts, merging, diarization),
            diarization=diarization,
            merging=merging,
        )
    finally:
        logger.debug("closing connections")
        await queue.close()
        await close_database()
