"""Accepting recordings: what a client uploads is checked, stored, written down, and queued."""

from __future__ import annotations

import asyncio
import hashlib
import json
import uuid
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from typing import BinaryIO, Literal

from core.config import Settings
from core.errors import AppError, InvalidInput
from core.logger import bound, logged_operation, logger
from core.storage import ObjectStore
from core.storage.folder import translate_os_error
from core.workspace import working_folder
from repositories.models import JobCreate, JobModel, JobOptions, Source, Stage
from repositories.task_repository import TaskRepository
from services.admission import Admission
from services.known_speakers import KnownSpeaker as KnownSpeaker
from services.known_speakers import check_names, digest_clips, normalise_clips, store_clips
from services.lifecycle import job_of_key, job_prefix, source_key
from services.model_service import ModelService
from services.planner import Planner
from services.recording import RECORDING_TYPE, look_into, measure
from services.reuse_service import ReuseService
from services.speaker_service import RequestedSpeakers
from services.upload_keys import UploadKeys
from services.webhook_service import WebhookService
from worker import media
from worker.constants import LANGUAGES


@dataclass(frozen=True)
class Upload:
    """A received file: an open, seekable temporary file and what the client called it."""

    file: BinaryIO
    file_name: str


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
        webhooks: WebhookService,
    ) -> None:
        self._settings = settings
        self._jobs = jobs
        self._store = store
        self._models = models
        self._planner = planner
        self._admission = admission
        self._keys = keys
        self._reuse = reuse
        self._webhooks = webhooks

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
        job_id = uuid.uuid4().hex
        with bound(job_id=job_id), logged_operation("create task") as outcome:
            source = Source(object=source_key(job_id), file_name=upload.file_name)
            create = await self._plan(owner, job_id, source, requested)
            size, sha256 = await asyncio.to_thread(measure, upload.file)
            outcome.update(size_bytes=size)
            create.source = source.model_copy(update={"size_bytes": size, "sha256": sha256})
            async with self._claimed(create, key) as earlier:
                if earlier is not None:
                    return Accepted(earlier, is_replay=True)
                create.source = await look_into(self._settings, upload.file, create.source)
                return Accepted(await self._accept(create, upload.file, requested))

    async def create_task_to_fetch(
        self, owner: str, source: Source, requested: RequestedOptions, key: str | None = None
    ) -> Accepted:
        """Accept a recording that is not here yet, or has not been looked into.

        A consumer does so later (`FetchService`).

        Args:
            owner: Whose task it will be.
            source: Where the recording is, and where it will be; its key names the task.
            requested: What is to be done with it.
            key: The client's Idempotency-Key.

        Raises:
            InvalidInput: An option cannot be used, or the key has been used for something else.
            Conflict: Another request with this key is being worked on (retryable), or the task is
                there already (code `duplicate`).
        """
        job_id = job_of_key(source.object)
        with bound(job_id=job_id), logged_operation("create task to fetch"):
            create = await self._plan(owner, job_id, source, requested)
            async with self._claimed(create, key) as earlier:
                if earlier is not None:
                    return Accepted(earlier, is_replay=True)
                if requested.known_speakers:
                    await self._keep_voices(job_id, requested.known_speakers)
                # If this fails, what is stored is left: it may be of a job that is there.
                job = await self._jobs.create_job(create, stage=Stage.FETCH)
                await self._begin(job)
                return Accepted(job)

    async def _plan(
        self, owner: str, job_id: str, source: Source, requested: RequestedOptions
    ) -> JobCreate:
        """Return what will be written down of a task, refusing options that cannot be used."""
        options = self._check_options(requested)
        options.known_speaker_digests = await asyncio.to_thread(
            digest_clips, requested.known_speakers
        )
        url = requested.webhook_url
        return JobCreate(
            id=job_id,
            owner=owner,
            options=options,
            source=source,
            keep_hours=requested.keep_hours or self._settings.retention_hours,
            webhook_id=None if url is None else (await self._webhooks.register(owner, url)).id,
        )

    def _claimed(
        self, create: JobCreate, key: str | None
    ) -> AbstractAsyncContextManager[JobModel | None]:
        """Hold the Idempotency-Key, if there is one; yields the task that it has made before."""
        if key is None:
            return nullcontext()
        return self._keys.claimed(create.owner, key, _fingerprint(create), create.id)

    async def _accept(
        self, create: JobCreate, file: BinaryIO, requested: RequestedOptions
    ) -> JobModel:
        source = create.source
        file.seek(0)
        try:
            if requested.known_speakers:
                await self._keep_voices(create.id, requested.known_speakers)
            await self._store.put(source.object, file, source.size_bytes, RECORDING_TYPE)
            if requested.reuse and (reused := await self._reuse.finished(create)):
                return reused
            job = await self._jobs.create_job(create)
            # From here on the job is there: whatever fails now, the reconciler makes up for.
        except BaseException:
            await asyncio.shield(self._undo(create))
            raise
        await self._begin(job)
        return job

    async def _begin(self, job: JobModel) -> None:
        """Have a task worked on that is written down: it will be, even if this fails."""
        try:
            await self._planner.advance(job.id)
        except AppError as error:
            logger.warning("the task waits to be taken up: {}", error.message)

    async def _keep_voices(self, job_id: str, voices: Sequence[KnownSpeaker]) -> None:
        """Store the clips of known speakers, if all of them can be used."""
        ffmpeg = media.find_ffmpeg(self._settings.ffmpeg_executable)
        with (
            logged_operation("keep clips", translate=translate_os_error, clips=len(voices)),
            working_folder(self._settings.temp_dir) as folder,
        ):
            await store_clips(self._store, job_id, await normalise_clips(ffmpeg, voices, folder))

    async def _undo(self, create: JobCreate) -> None:
        """Remove what was made of a task that could not be accepted.

        If the job may still be there, so is its recording: it is a whole one, or swept up later.
        """
        try:
            await self._jobs.delete_job(create.id)
            await self._store.delete_prefix(job_prefix(create.id))
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
        names = [person.name for person in requested.known_speakers]
        return JobOptions(
            language="en" if model.english_only else language,
            model=model.name,
            task=requested.task,
            prompt=requested.prompt or None,
            temperature=requested.temperature,
            word_timestamps=requested.word_timestamps,
            chunking=requested.chunking,
            diarize=requested.diarize,
            known_speakers=check_names(names, diarize=requested.diarize),
            **asdict(requested.speakers),
        )


def _fingerprint(create: JobCreate) -> str:
    """Return what is the same for requests that ask for the same."""
    source = create.source
    recording = source.url or source.sha256 or source.object
    asked = [recording, create.options.to_dict(), create.keep_hours, create.webhook_id]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()
