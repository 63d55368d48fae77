"""Accepting recordings: what a client uploads is checked, stored, written down, and queued."""

from __future__ import annotations

import asyncio
import hashlib
import json
import uuid
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from typing import BinaryIO, Literal

from core.config import Settings
from core.errors import AppError, InvalidInput
from core.logger import bound, logged_operation, logger
from core.storage import ObjectStore
from repositories.models import JobCreate, JobModel, JobOptions, Source
from repositories.task_repository import TaskRepository
from services.admission import Admission
from services.lifecycle import source_key
from services.model_service import ModelService
from services.planner import Planner
from services.reuse_service import ReuseService
from services.speaker_service import RequestedSpeakers
from services.upload_keys import UploadKeys
from worker import media
from worker.constants import LANGUAGES

_HASH_BLOCK_BYTES = 1 << 20
# Whatever the client calls it: nothing of an upload is ever served as something to run.
_UPLOAD_TYPE = "application/octet-stream"


@dataclass(frozen=True)
class Upload:
    """A received file: an open, seekable temporary file and what the client called it."""

    file: BinaryIO
    file_name: str


@dataclass(frozen=True)
class KnownSpeaker:
    """A person who may speak in a recording, and how they sound.

    Attributes:
        name: To be shown.
        clip: Some seconds of their voice alone, in any format that ffmpeg reads.
    """

    name: str
    clip: bytes


@dataclass(frozen=True)
class RequestedOptions:
    """What a client may ask for; None means the server's default.

    Attributes:
        webhook_url: Who is told of the end.
        known_speakers: Whom to look for among the speakers.
        keep_hours: How long the task is kept after its end.
        reuse: Whether a transcript of the same bytes with the same options may be taken over.
        (The others are those of `JobOptions`.)
    """

    language: str | None = None
    model: str | None = None
    task: Literal["transcribe", "translate"] = "transcribe"
    prompt: str | None = None
    temperature: float = 0.0
    word_timestamps: bool = True
    chunking: Literal["silence", "fixed"] = "silence"
    diarize: bool = False
    known_speakers: tuple[KnownSpeaker, ...] = ()
    webhook_url: str | None = None
    speakers: RequestedSpeakers = field(default_factory=RequestedSpeakers)
    keep_hours: float | None = None
    reuse: bool = True


@dataclass(frozen=True)
class Accepted:
    """A task, and whether an earlier request with the same Idempotency-Key made it."""

    job: JobModel
    is_replay: bool = False


class UploadService:
    """The use case behind `POST /upload`.

    Every method may raise `DatabaseUnavailable` or `StorageUnavailable` (both retryable).
    """

    def __init__(
        self,
        settings: Settings,
        jobs: TaskRepository,
        store: ObjectStore,
        models: ModelService,
        planner: Planner,
        admission: Admission,
        keys: UploadKeys,
        reuse: ReuseService,
    ) -> None:
        self._settings = settings
        self._jobs = jobs
        self._store = store
        self._models = models
        self._planner = planner
        self._admission = admission
        self._keys = keys
        self._reuse = reuse

    async def admit(self, owner: str, key: str | None) -> None:
        """Refuse an upload, before it is received, where there is no room for another task.

        One that is sent again for the sake of its answer needs none.

        Raises:
            TooManyTasks: The limits are reached (retryable).
            StorageUnavailable: The disk is nearly full (retryable; code `disk_full`).
        """
        if key is None or not await self._keys.has_task(owner, key):
            await self._admission.check(owner)

    async def create_task(
        self, owner: str, upload: Upload, requested: RequestedOptions, key: str | None = None
    ) -> Accepted:
        """Accept a recording: check it, store it, write the job, wake a consumer.

        A failure at any step undoes those before it.

        Args:
            owner: Whose task it will be.
            upload: The recording.
            requested: What is to be done with it.
            key: The client's Idempotency-Key: of several requests with one, a single task is made.

        Raises:
            InvalidInput: An option or the recording cannot be used, or the key has been used for
                something else.
            Conflict: Another request with this key is being worked on (retryable).
        """
        options = self._check_options(requested)
        job_id = uuid.uuid4().hex
        with bound(job_id=job_id), logged_operation("create task") as outcome:
            size, sha256 = await asyncio.to_thread(_measure, upload.file)
            outcome.update(size_bytes=size)
            create = JobCreate(
                id=job_id,
                owner=owner,
                options=options,
                source=Source(
                    object=source_key(job_id),
                    file_name=upload.file_name,
                    size_bytes=size,
                    sha256=sha256,
                ),
                keep_hours=requested.keep_hours or self._settings.retention_hours,
            )
            held = self._keys.claimed(owner, key, _fingerprint(create), job_id) if key else None
            async with held or nullcontext() as earlier:
                if earlier is not None:
                    return Accepted(earlier, is_replay=True)
                create.source = await self._look_into(upload.file, create.source)
                job = await self._accept(create, upload.file, may_reuse=requested.reuse)
                return Accepted(job)

    async def _look_into(self, file: BinaryIO, source: Source) -> Source:
        """Return what is stored of a recording with what its headers say."""
        ffmpeg = media.find_ffmpeg(self._settings.ffmpeg_executable)
        limit = self._settings.max_duration_seconds
        info = await media.probe(ffmpeg, file, max_seconds=limit)
        found = {"format": info.container, "codec": info.codec, "duration": info.duration}
        return source.model_copy(update=found)

    async def _accept(self, create: JobCreate, file: BinaryIO, *, may_reuse: bool) -> JobModel:
        source = create.source
        file.seek(0)
        try:
            await self._store.put(source.object, file, source.size_bytes, _UPLOAD_TYPE)
            if may_reuse and (reused := await self._reuse.finished(create)):
                return reused
            job = await self._jobs.create_job(create)
            # From here on the job is there: whatever fails now, the reconciler makes up for.
        except BaseException:
            await asyncio.shield(self._undo(create))
            raise
        try:
            await self._planner.advance(job.id)
        except AppError as error:
            logger.warning("the task waits to be taken up: {}", error.message)
        return job

    async def _undo(self, create: JobCreate) -> None:
        """Remove what was made of a task that could not be accepted.

        If the job may still be there, so is its recording: it is a whole one, or swept up later.
        """
        try:
            await self._jobs.delete_job(create.id)
            await self._store.delete(create.source.object)
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
            task=requested.task,
            prompt=requested.prompt or None,
            temperature=requested.temperature,
            word_timestamps=requested.word_timestamps,
            chunking=requested.chunking,
            diarize=requested.diarize,
            **asdict(requested.speakers),
        )


def _fingerprint(create: JobCreate) -> str:
    """Return what is the same for requests that ask for the same."""
    asked = [create.source.sha256, create.options.to_dict(), create.keep_hours]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()


def _measure(file: BinaryIO) -> tuple[int, str]:
    """Return a file's size and SHA-256, read in blocks."""
    file.seek(0)
    digest, size = hashlib.sha256(), 0
    while block := file.read(_HASH_BLOCK_BYTES):
        digest.update(block)
        size += len(block)
    return size, digest.hexdigest()
