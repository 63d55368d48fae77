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
from core.outgoing import OutgoingClient
from core.storage import ObjectStore, get_storage
from repositories.api_key_repository import ApiKeyRepository
from repositories.chunk_repository import ChunkRepository
from repositories.delivery_repository import DeliveryRepository
from repositories.direct_upload_repository import DirectUploadRepository
from repositories.follow_up_repository import FollowUpRepository
from repositories.patience import patient
from repositories.segment_repository import SegmentRepository
from repositories.task_repository import TaskRepository
from repositories.turn_repository import TurnRepository
from repositories.unit_repository import UnitRepository
from repositories.upload_key_repository import UploadKeyRepository
from repositories.webhook_repository import WebhookRepository
from services.admission import Admission
from services.announcements import Announcements
from services.delivery_service import DeliveryService
from services.diarization_service import DiarizationService
from services.direct_uploads import DirectUploads
from services.dispatcher import Dispatcher
from services.endings import Endings
from services.event_service import EventService
from services.failure_service import FailureService
from services.fetch_service import FetchService
from services.follow_up_service import FollowUpService
from services.ingestion_service import IngestionService
from services.key_service import KeyService
from services.language_service import LanguageService
from services.merge_service import MergeService
from services.model_service import ModelService
from services.pipeline_service import PipelineService
from services.planner import Planner
from services.reuse_service import ReuseService
from services.search_service import SearchService
from services.speaker_service import SpeakerService
from services.task_service import TaskService
from services.upkeep_service import UpkeepService
from services.upload_keys import UploadKeys
from services.upload_service import UploadService
from services.webhook_sender import WebhookSender
from services.webhook_service import WebhookService

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
    segments: SegmentRepository
    keys: UploadKeyRepository
    opened_uploads: DirectUploadRepository
    webhook_endpoints: WebhookRepository
    webhook_deliveries: DeliveryRepository
    ended_jobs: FollowUpRepository
    api_keys: ApiKeyRepository
    models: ModelService
    languages: LanguageService
    dispatcher: Dispatcher
    admission: Admission
    access: KeyService
    uploads: UploadService
    direct_uploads: DirectUploads
    ingestion: IngestionService
    tasks: TaskService
    events: EventService
    speakers: SpeakerService
    fetching: FetchService
    pipeline: PipelineService
    diarization: DiarizationService
    merging: MergeService
    failures: FailureService
    upkeep: UpkeepService
    webhooks: WebhookService
    deliveries: DeliveryService
    follow_ups: FollowUpService
    search: SearchService

    async def init_storage(self) -> None:
        """Create the indexes and the bucket or folder; what is there stays.

        Raises:
            TransientError: A server cannot be reached (retryable).
        """
        await self.synchronise_clock()
        for repository in (
            self.jobs, self.chunks, self.units, self.segments, self.keys, self.api_keys,
            self.webhook_endpoints, self.webhook_deliveries, self.ended_jobs, self.opened_uploads,
        ):  # fmt: skip
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
    segments = waiting(SegmentRepository(database))
    endings = Endings(jobs, chunks, units, segments, store)
    planner = Planner(jobs, chunks, units, dispatcher, endings)
    diarization = DiarizationService(settings, jobs, store, planner, endings)
    admission = Admission(settings, jobs)
    outgoing = OutgoingClient(settings)
    endpoints, messages = WebhookRepository(database), DeliveryRepository(database)
    webhooks = WebhookService(endpoints, messages, outgoing)
    ended_jobs = FollowUpRepository(database)
    api_keys = ApiKeyRepository(database)
    tasks = TaskService(jobs, chunks, store, dispatcher, planner, endings)
    opened = DirectUploadRepository(database)
    direct_uploads = DirectUploads(settings, opened, jobs, store, admission)
    uploads = UploadService(
        settings, jobs, store, models, planner, admission,
        UploadKeys(keys, jobs), ReuseService(settings, jobs, chunks, store), webhooks,
    )  # fmt: skip
    search = SearchService(jobs, segments, store)
    return Container(
        settings=settings,
        patience_seconds=patience_seconds,
        database=database,
        store=store,
        queue=queue,
        jobs=jobs,
        chunks=chunks,
        units=units,
        segments=segments,
        keys=keys,
        opened_uploads=opened,
        webhook_endpoints=endpoints,
        webhook_deliveries=messages,
        ended_jobs=ended_jobs,
        api_keys=api_keys,
        models=models,
        languages=LanguageService(settings, models),
        dispatcher=dispatcher,
        admission=admission,
        access=KeyService(api_keys),
        uploads=uploads,
        direct_uploads=direct_uploads,
        ingestion=IngestionService(uploads, direct_uploads, jobs, outgoing),
        tasks=tasks,
        events=EventService(jobs, chunks, tasks),
        speakers=SpeakerService(jobs, planner),
        fetching=FetchService(settings, jobs, store, outgoing, planner, endings),
        pipeline=PipelineService(settings, jobs, chunks, store, models, planner, endings),
        diarization=diarization,
        merging=MergeService(settings, jobs, chunks, store, endings),
        failures=FailureService(
            settings, jobs, chunks, units, dispatcher, planner, diarization, endings
        ),
        upkeep=UpkeepService(
            settings, jobs, units, keys, opened, messages, TurnRepository(database), store,
            planner, endings,
        ),
        webhooks=webhooks,
        deliveries=DeliveryService(settings, endpoints, messages, WebhookSender(outgoing)),
        follow_ups=FollowUpService(
            ended_jobs, [Announcements(endpoints, messages).add, search.index]
        ),
        search=search,
    )  # fmt: skip
