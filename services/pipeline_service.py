"""What speech consumers do with a recording: decode and cut it, and transcribe the chunks.

Every method can be run twice, or by two consumers at once: what is recorded already is not done
again, and results are committed under the fence of the unit's claim.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import asdict

from core.clock import utc_now
from core.config import Settings
from core.logger import bound, logged_operation, logger
from core.storage import ObjectStore
from core.workspace import working_folder
from repositories.chunk_repository import ChunkRepository
from repositories.models import (
    ChunkModel,
    ChunkResult,
    ChunkStatus,
    JobModel,
    JobStatus,
    JobUpdate,
    Progress,
    Stage,
    UnitModel,
)
from repositories.task_repository import TaskRepository
from services.diarization_service import first_diarization
from services.endings import Endings
from services.engines import make_transcriber
from services.lifecycle import audio_key, begin
from services.merge_service import to_chunk
from services.model_service import DEMO_MODEL, ModelService
from services.planner import Planner
from worker.media import find_ffmpeg
from worker.processor import PreparedAudio, prepare_audio, transcribe_chunks
from worker.transcriber import TranscribeOptions
from worker.transcript import Chunk

_DEMO_WARNING = (
    "Transcribed with the demo model, which knows about 600 English words of synthetic speech. "
    "For real recordings: `python main.py models pull base.en`, then WHISPER_MODEL=base.en."
)


class PipelineService:
    """The stages of speech consumers.

    Every method may raise `DatabaseUnavailable` or `StorageUnavailable` (both retryable).
    """

    def __init__(
        self,
        settings: Settings,
        jobs: TaskRepository,
        chunks: ChunkRepository,
        store: ObjectStore,
        models: ModelService,
        planner: Planner,
        endings: Endings,
    ) -> None:
        self._settings = settings
        self._jobs = jobs
        self._chunks = chunks
        self._store = store
        self._models = models
        self._planner = planner
        self._endings = endings

    async def prepare(self, unit: UnitModel) -> None:
        """Normalise the upload, cut it into chunks and add the work on them.

        Raises:
            InvalidAudio: The recording cannot be used.
            EngineFailed: ffmpeg crashed or hung (retryable).
        """
        job = await begin(self._jobs, unit.job_id)
        if job is not None and job.stage is Stage.PREPARE:
            with logged_operation("prepare recording") as outcome:
                started = utc_now()
                prepared = await self._prepare_audio(job)
                await self._chunks.add_chunks(job.id, _chunk_documents(job.id, prepared.chunks))
                seconds = (utc_now() - started).total_seconds()
                outcome.update(duration_seconds=prepared.duration, chunks=len(prepared.chunks))
                await self._record_prepared(job, prepared, seconds)
        await self._planner.advance(unit.job_id)

    async def transcribe(self, unit: UnitModel) -> None:
        """Transcribe a batch of chunks.

        Each result is committed as soon as it is there, so that a failure costs only what was
        under way; chunks that are done stay done.

        Raises:
            EngineFailed: whisper-cli crashed or hung (retryable).
            EngineMissing: whisper-cli or the model is not there.
        """
        assert unit.holder is not None
        job = await self._jobs.get_job(unit.job_id)
        if job is not None and job.status is JobStatus.PROCESSING:
            claimed = await self._chunks.claim(job.id, unit.chunks, unit.holder)
            if claimed:
                with logged_operation("transcribe batch", chunks=len(claimed)):
                    await self._transcribe_claimed(job, claimed)
            await self._note_time(job)
        await self._planner.advance(unit.job_id)

    async def _prepare_audio(self, job: JobModel) -> PreparedAudio:
        with working_folder(self._settings.temp_dir) as folder:
            source, wav = folder / "source", folder / "audio.wav"
            await self._store.download(job.source.object, source)
            with source.open("rb") as file:
                prepared = await prepare_audio(
                    find_ffmpeg(self._settings.ffmpeg_executable),
                    file,
                    wav,
                    max_seconds=self._settings.max_duration_seconds,
                    declared=job.source.duration,
                    chunking=job.options.chunking,
                )
            await self._store.put_file(audio_key(job.id, job.attempt), wav, "audio/wav")
        return prepared

    async def _record_prepared(
        self, job: JobModel, prepared: PreparedAudio, seconds: float
    ) -> None:
        """Move the job on to transcription, unless it was cancelled, deleted or moved meanwhile."""
        notes = list(prepared.warnings)
        if job.options.model == DEMO_MODEL:
            notes.append(_DEMO_WARNING)
        done = await self._chunks.count(job.id, ChunkStatus.DONE)
        update = JobUpdate(
            stage=Stage.TRANSCRIBE,
            progress=Progress(chunks_done=done, chunks_total=len(prepared.chunks)),
            warnings=notes,
            timings={"prepare": round(seconds, 3)},
            transcribing_since=utc_now(),
            duration=prepared.duration,
        )
        if job.diarization is None and any(chunk.has_speech for chunk in prepared.chunks):
            update.diarization = first_diarization(job)
        processing = JobStatus.PROCESSING
        moved = await self._jobs.update_status(
            job.id,
            processing,
            allowed_from={processing},
            while_stage=Stage.PREPARE,
            while_attempt=job.attempt,
            update=update,
        )
        if not moved and await self._jobs.get_job(job.id) is None:
            with bound(job_id=job.id):
                await self._endings.forget_stored(job.id)

    async def _transcribe_claimed(self, job: JobModel, claimed: Sequence[ChunkModel]) -> None:
        transcriber = make_transcriber(self._settings, self._models.path_of(job.options.model))
        asked = job.options
        options = TranscribeOptions(asked.language, asked.prompt, asked.task, asked.temperature)
        by_index = {chunk.index: chunk for chunk in claimed}

        async def read_range(offset: int, length: int) -> bytes:
            return await self._store.read(audio_key(job.id, job.attempt), offset, length)

        with working_folder(self._settings.temp_dir) as folder:
            chunks = [to_chunk(document) for document in claimed]
            stage = transcribe_chunks(transcriber, read_range, chunks, options, folder)
            async with aclosing(stage) as results:
                async for result in results:
                    chunk = by_index[result.index]
                    heard = ChunkResult.model_validate(asdict(result))
                    if not await self._chunks.commit(chunk, heard):
                        logger.warning("chunk {} is no longer ours: stopping", chunk.index)
                        return
                    await self._jobs.add_chunk_done(job)

    async def _note_time(self, job: JobModel) -> None:
        """Once every chunk is settled, note how long it took."""
        if await self._chunks.pending_indexes(job.id):
            return
        seconds = (utc_now() - (job.transcribing_since or utc_now())).total_seconds()
        update = JobUpdate(timings={"transcribe": seconds})
        await self._jobs.update_job(job.id, update, while_status={JobStatus.PROCESSING})


def _chunk_documents(job_id: str, chunks: Sequence[Chunk]) -> list[ChunkModel]:
    """Return the documents of freshly cut chunks; those without speech need no work."""
    return [
        ChunkModel(
            id=ChunkModel.make_id(job_id, chunk.index),
            job_id=job_id,
            status=ChunkStatus.PENDING if chunk.has_speech else ChunkStatus.DONE,
            **asdict(chunk),
        )
        for chunk in chunks
    ]
