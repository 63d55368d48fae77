"""The one place where parts are put together. Both the API and the consumers get theirs here."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

from core import clock
from core.config import Settings
from core.database import MongoDB, close_database, get_database
from core.logger import logger
from core.messaging import RedisQueueManager, get_queue_manager
from core.storage import ObjectStore, get_storage
from repositories.chunk_repository import ChunkRepository
from repositories.patience import patient
from repositories.task_repository import TaskRepository
from repositories.turn_repository import TurnRepository
from repositories.unit_repository import UnitRepository
from repositories.upload_key_repository import UploadKeyRepository
from services.admission import Admission
from services.diarization_service import DiarizationService
from services.dispatcher import Dispatcher
from services.endings import Endings
from services.failure_service import FailureService
from services.merge_service import MergeService
from services.model_service import ModelService
from services.pipeline_service import PipelineService
from services.planner import Planner
from services.reuse_service import ReuseService
from services.speaker_service import SpeakerService
from services.task_service import TaskService
from services.upkeep_service import UpkeepService
from services.upload_keys import UploadKeys
from services.upload_service import UploadService

T = TypeVar("T")


@dataclass(frozen=True)
class Container:
    """Everything that a process needs, connected."""

    settings: Settings
    patience_seconds: float
    database: MongoDB
    store: ObjectStore
    queue: RedisQueueManager
    jobs: TaskRepository
    chunks: ChunkRepository
    units: UnitRepository
    keys: UploadKeyRepository
    models: ModelService
    dispatcher: Dispatcher
    admission: Admission
    uploads: UploadService
    tasks: TaskService
    speakers: SpeakerService
    pipeline: PipelineService
    diarization: DiarizationService
    merging: MergeService
    failures: FailureService
    upkeep: UpkeepService

    async def init_storage(self) -> None:
        """Create the indexes and the bucket or folder; what is there stays.

        Raises:
            TransientError: A server cannot be reached (retryable).
        """
        await self.synchronise_clock()
        for repository in (self.jobs, self.chunks, self.units, self.keys):
            await repository.ensure_indexes()
        await self.store.prepare()

    async def synchronise_clock(self) -> None:
        """Go by MongoDB's clock, as every other process does.

        Raises:
            DatabaseUnavailable: MongoDB cannot be reached (retryable).
        """
        database = patient(self.database, self.patience_seconds)
        clock.synchronise(await database.server_time())


@asynccontextmanager
async def open_container(
    settings: Settings, *, patience_seconds: float = 0
) -> AsyncIterator[Container]:
    """Build the parts from settings, and close them at the end. Call it after any fork.

    Args:
        settings: Which servers and engines.
        patience_seconds: How long queries wait while MongoDB is away, before they raise.
    """
    settings.temp_dir.mkdir(parents=True, exist_ok=True)
    database = await get_database(settings)
    queue = get_queue_manager(settings)
    try:
        yield _assemble(settings, database, queue, patience_seconds)
    finally:
        logger.debug("closing connections")
        await queue.close()
        await close_database()


def _assemble(
    settings: Settings, database: MongoDB, queue: RedisQueueManager, patience_seconds: float
) -> Container:
    def waiting(repository: T) -> T:
        return patient(repository, patience_seconds) if patience_seconds else repository

    store = get_storage(settings)
    jobs, chunks = waiting(TaskRepository(database)), waiting(ChunkRepository(database))
    units, keys = waiting(UnitRepository(database)), UploadKeyRepository(database)
    models = ModelService(settings.models_dir, settings.models_url)
    dispatcher = Dispatcher(settings, units, queue)
    endings = Endings(jobs, chunks, units, store)
    planner = Planner(jobs, chunks, units, dispatcher, endings)
    diarization = DiarizationService(settings, jobs, store, planner, endings)
    admission = Admission(settings, jobs)
    return Container(
        settings=settings,
        patience_seconds=patience_seconds,
        database=database,
        store=store,
        queue=queue,
        jobs=jobs,
        chunks=chunks,
        units=units,
        keys=keys,
        models=models,
        dispatcher=dispatcher,
        admission=admission,
        uploads=UploadService(
            settings, jobs, store, models, planner, admission,
            UploadKeys(keys, jobs), ReuseService(settings, jobs, chunks, store),
        ),
        tasks=TaskService(jobs, chunks, store, dispatcher, planner, endings),
        speakers=SpeakerService(jobs, planner),
        pipeline=PipelineService(settings, jobs, chunks, store, models, planner, endings),
        diarization=diarization,
        merging=MergeService(settings, jobs, chunks, store, endings),
        failures=FailureService(
            settings, jobs, chunks, units, dispatcher, planner, diarization, endings
        ),
        upkeep=UpkeepService(
            settings, jobs, units, keys, TurnRepository(database), store,
            planner, endings,
        ),
    )  # fmt: skip
