"""What clients can do with tasks (jobs, to the database): create, follow, fetch, list, delete."""

from __future__ import annotations

import asyncio
import hashlib
import json
import uuid
from dataclasses import asdict, dataclass, field
from typing import Any, BinaryIO, Literal

from core.config import Settings
from core.errors import AppError, Conflict, InvalidInput, NotFound
from core.logger import bound, logged_operation, logger
from core.storage import ObjectStore
from repositories.chunk_repository import ChunkRepository
from repositories.models import (
    DiarizationState,
    JobCreate,
    JobModel,
    JobOptions,
    JobStatus,
    JobUpdate,
    Result,
    Source,
    Stage,
    utc_now,
)
from repositories.task_repository import JobPage, TaskRepository
from services.dispatcher import Dispatcher
from services.lifecycle import job_prefix, may_become, source_key
from services.model_service import ModelService
from services.speaker_service import RequestedSpeakers, name_in
from worker import media
from worker.constants import LANGUAGES

# Shares of the work, for the percentage: decoding and merging are quick.
_PERCENT_PREPARED = 5.0
_PERCENT_TRANSCRIBED = 95.0
_NO_DIARIZER = (
    "No consumer serves the queue `diarization` now: the speakers wait for one "
    "(`python main.py worker --queue diarization`)."
)
_HASH_BLOCK_BYTES = 1 << 20
# Whatever the client calls it: nothing of an upload is ever served as something to run.
_UPLOAD_TYPE = "application/octet-stream"


@dataclass(frozen=True)
class Upload:
    """A received file: an open, seekable temporary file and what the client called it."""

    file: BinaryIO
    file_name: str


@dataclass(frozen=True)
class RequestedOptions:
    """What a client may ask for; None means the server's default."""

    language: str | None = None
    model: str | None = None
    prompt: str | None = None
    word_timestamps: bool = True
    chunking: Literal["silence", "fixed"] = "silence"
    diarize: bool = False
    speakers: RequestedSpeakers = field(default_factory=RequestedSpeakers)


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

    Every method may raise `DatabaseUnavailable`, `StorageUnavailable` or `QueueUnavailable`
    (all retryable). A task of another owner is a task that does not exist.
    """

    def __init__(
        self,
        settings: Settings,
        jobs: TaskRepository,
        chunks: ChunkRepository,
        store: ObjectStore,
        dispatcher: Dispatcher,
        models: ModelService,
    ) -> None:
        self._settings = settings
        self._jobs = jobs
        self._chunks = chunks
        self._store = store
        self._dispatcher = dispatcher
        self._models = models

    async def create_task(
        self, owner: str, upload: Upload, requested: RequestedOptions
    ) -> JobModel:
        """Accept a recording: check it, store it, write the job, wake a consumer.

        A failure at any step undoes those before it.

        Raises:
            InvalidInput: An option or the recording cannot be used.
        """
        job_id = uuid.uuid4().hex
        with bound(job_id=job_id), logged_operation("create task") as outcome:
            options = self._check_options(requested)
            ffmpeg = media.find_ffmpeg(self._settings.ffmpeg_executable)
            limit = self._settings.max_duration_seconds
            info = await media.probe(ffmpeg, upload.file, max_seconds=limit)
            size, sha256 = await asyncio.to_thread(_measure, upload.file)
            source = Source(
                object=source_key(job_id),
                file_name=upload.file_name,
                size_bytes=size,
                sha256=sha256,
                format=info.container,
                codec=info.codec,
                duration=info.duration,
            )
            create = JobCreate(id=job_id, owner=owner, options=options, source=source)
            outcome.update(size_bytes=size, duration_seconds=info.duration)
            return await self._accept(create, upload.file)

    async def get_task_status(self, owner: str, job_id: str) -> TaskStatus:
        """Return where a task stands.

        Raises:
            NotFound: There is no such task.
        """
        job = await self._get(owner, job_id)
        position = None
        if job.status is JobStatus.PENDING:
            position = 1 + await self._jobs.count_pending_before(job.created_at)
        notes = await self._notes(job)
        return TaskStatus(job, percent_done(job), eta_seconds(job), position, notes)

    async def get_task_result(self, owner: str, job_id: str) -> tuple[JobModel, dict[str, Any]]:
        """Return a finished task and its transcript's JSON values.

        Raises:
            NotFound: There is no such task.
            Conflict: It has not finished, or it failed (codes `not_finished`, `task_failed`).
        """
        job = await self._get(owner, job_id)
        if job.status is JobStatus.FAILED and job.error is not None:
            raise Conflict(f"The task failed: {job.error.message}", code="task_failed")
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
        self, owner: str, *, status: JobStatus | None, limit: int, cursor: str | None
    ) -> JobPage:
        """Return one page of an owner's tasks, newest first."""
        return await self._jobs.list_jobs(owner, status=status, limit=limit, cursor=cursor)

    async def delete_task(self, owner: str, job_id: str) -> None:
        """Remove a task with everything stored for it, whatever its state.

        Consumers that work on it notice that it is gone when they next commit, and stop.

        Raises:
            NotFound: There is no such task.
        """
        job = await self._get(owner, job_id)
        with bound(job_id=job_id), logged_operation("delete task"):
            # Cancelled first, so that no consumer begins another step while the rest is removed.
            now = JobUpdate(finished_at=utc_now())
            cancelled = JobStatus.CANCELLED
            await self._jobs.update_status(
                job.id, cancelled, allowed_from=may_become(cancelled), update=now
            )
            await self._chunks.delete_chunks(job.id)
            await self._store.delete_prefix(job_prefix(job.id))
            await self._jobs.delete_job(job.id)

    async def _read_transcript(self, job: JobModel, result: Result) -> tuple[JobModel, bytes]:
        """Read a transcript; if another has just replaced it, that one and the job as it is now."""
        try:
            return job, await self._store.read(result.object)
        except NotFound:
            now = await self._get(job.owner, job.id)
            if now.result is None or now.result.object == result.object:
                raise
            return now, await self._store.read(now.result.object)

    async def _get(self, owner: str, job_id: str) -> JobModel:
        job = await self._jobs.get_job(job_id, owner)
        if job is None:
            raise NotFound(
                "There is no task with this id. It may have been deleted.", code="task_not_found"
            )
        return job

    async def _notes(self, job: JobModel) -> tuple[str, ...]:
        asked = job.diarization
        waits = asked is not None and asked.state is DiarizationState.PENDING and not asked.progress
        if not waits or job.status.is_terminal or await self._dispatcher.has_diarizer():
            return ()
        return (_NO_DIARIZER,)

    async def _accept(self, create: JobCreate, file: BinaryIO) -> JobModel:
        source = create.source
        file.seek(0)
        try:
            await self._store.put(source.object, file, source.size_bytes, _UPLOAD_TYPE)
            job = await self._jobs.create_job(create)
            await self._dispatcher.dispatch(job.id, Stage.PREPARE)
        except BaseException:
            await asyncio.shield(self._undo(create))
            raise
        return job

    async def _undo(self, create: JobCreate) -> None:
        """Remove what was made of a task that could not be accepted."""
        for step in (self._jobs.delete_job(create.id), self._store.delete(create.source.object)):
            try:
                await step
            except AppError as error:
                logger.warning("undoing an upload failed: {}", error.message)

    def _check_options(self, requested: RequestedOptions) -> JobOptions:
        """Fill in defaults and refuse what would fail later."""
        model = self._models.get(requested.model or self._settings.whisper_model)
        language = (requested.language or "auto").lower()
        if language not in LANGUAGES | {"auto"}:
            raise InvalidInput(
                f"Unknown language {language!r}. Use `auto` or a code such as `en`, `de`, `zh`.",
                code="unknown_language",
            )
        if model.english_only and language not in ("auto", "en"):
            raise InvalidInput(
                f"The model {model.name!r} knows English only. Choose a multilingual model.",
                code="unsupported_language",
            )
        if not requested.diarize and not requested.speakers.is_empty:
            raise InvalidInput(
                "A number of speakers is of use with diarize=true only.", code="invalid_speakers"
            )
        requested.speakers.check()
        return JobOptions(
            language="en" if model.english_only else language,
            model=model.name,
            prompt=requested.prompt or None,
            word_timestamps=requested.word_timestamps,
            chunking=requested.chunking,
            diarize=requested.diarize,
            **asdict(requested.speakers),
        )


def percent_done(job: JobModel) -> float:
    """Return how much of a job is done, 0 to 100, with one decimal. Pure."""
    if job.status is JobStatus.COMPLETED:
        return 100.0
    match job.stage:
        case Stage.PREPARE:
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


def _measure(file: BinaryIO) -> tuple[int, str]:
    """Return a file's size and SHA-256, read in blocks."""
    file.seek(0)
    digest, size = hashlib.sha256(), 0
    while block := file.read(_HASH_BLOCK_BYTES):
        digest.update(block)
        size += len(block)
    return size, digest.hexdigest()
