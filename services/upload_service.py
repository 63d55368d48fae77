"""Accepting recordings: what a client uploads is checked, stored, written down, and queued."""

from __future__ import annotations

import asyncio
import hashlib
import json
import uuid
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
class RequestedOptions:
    """What a client may ask for; None means the server's default.

    Attributes:
        keep_hours: How long the task is kept after its end.
        reuse: Whether a transcript of the same bytes with the same options may be taken over.
        (The others are those of `JobOptions`.)
    """

    language: str | None = None
    model: str | None = None
    prompt: str | None = None
    word_timestamps: bool = True
    chunking: Literal["silence", "fixed"] = "silence"
    diarize: bool = False
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
            TooManyTasks: The limits are reached (retryable).
        """
        await self._admission.check(owner)
        options = self._check_options(requested)
        size, sha256 = await asyncio.to_thread(_measure, upload.file)
        job_id = uuid.uuid4().hex
        with bound(job_id=job_id), logged_operation("create task") as outcome:
            outcome.update(size_bytes=size)
            if key is None:
                return Accepted(
                    await self._create(job_id, owner, upload, options, requested, (size, sha256))
                )
            asked = [sha256, options.to_dict(), requested.keep_hours]
            fingerprint = hashlib.sha256(json.dumps(asked).encode()).hexdigest()
            async with self._keys.claimed(owner, key, fingerprint, job_id) as earlier:
                if earlier is not None:
                    return Accepted(earlier, is_replay=True)
                return Accepted(
                    await self._create(job_id, owner, upload, options, requested, (size, sha256))
                )

    async def _create(
        self,
        job_id: str,
        owner: str,
        upload: Upload,
        options: JobOptions,
        requested: RequestedOptions,
        measured: tuple[int, str],
    ) -> JobModel:
        ffmpeg = media.find_ffmpeg(self._settings.ffmpeg_executable)
        limit = self._settings.max_duration_seconds
        info = await media.probe(ffmpeg, upload.file, max_seconds=limit)
        size, sha256 = measured
        source = Source(
            object=source_key(job_id),
            file_name=upload.file_name,
            size_bytes=size,
            sha256=sha256,
            format=info.container,
            codec=info.codec,
            duration=info.duration,
        )
        keep = requested.keep_hours or self._settings.retention_hours
        create = JobCreate(id=job_id, owner=owner, options=options, source=source, keep_hours=keep)
        return await self._accept(create, upload.file, may_reuse=requested.reuse)

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


def _measure(file: BinaryIO) -> tuple[int, str]:
    """Return a file's size and SHA-256, read in blocks."""
    file.seek(0)
    digest, size = hashlib.sha256(), 0
    while block := file.read(_HASH_BLOCK_BYTES):
        digest.update(block)
        size += len(block)
    return size, digest.hexdigest()
