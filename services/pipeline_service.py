"""What speech consumers do with a recording: prepare and transcribe it; and what a failure means.

Every method can be run twice, or by two consumers at once: a stage begins only where the job is in
that stage, chunks are claimed and committed under a fence, and one compare-and-set decides who
starts the next stage.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import asdict
from pathlib import Path

from core.config import Settings
from core.errors import AppError
from core.logger import bound, logged_operation, logger
from core.storage import ObjectStore
from repositories.chunk_repository import ChunkRepository
from repositories.models import (
    ChunkModel,
    ChunkResult,
    ChunkStatus,
    DiarizationState,
    JobError,
    JobModel,
    JobStatus,
    JobUpdate,
    Progress,
    Stage,
    utc_now,
)
from repositories.task_repository import TaskRepository
from services.diarization_service import DiarizationService, first_diarization
from services.dispatcher import Dispatcher
from services.engines import make_transcriber
from services.lifecycle import audio_key, job_prefix, may_become
from services.merge_service import MergeService, to_chunk
from services.model_service import DEMO_MODEL, ModelService
from worker.media import find_ffmpeg
from worker.processor import PreparedAudio, prepare_audio, transcribe_chunks
from worker.transcriber import TranscribeOptions
from worker.transcript import Chunk

# How long a dead consumer's chunks stay taken. Renewed at a third of it while work goes on.
_LEASE_SECONDS = 24.0
_LEASE_POLL_SECONDS = 2.0

_DEMO_WARNING = (
    "Transcribed with the demo model, which knows about 600 English words of synthetic speech. "
    "For real recordings: `python main.py models pull base.en`, then WHISPER_MODEL=base.en."
)


class PipelineService:
    """The stages that the queue's handlers call."""

    def __init__(
        self,
        settings: Settings,
        jobs: TaskRepository,
        chunks: ChunkRepository,
        store: ObjectStore,
        dispatcher: Dispatcher,
        models: ModelService,
        merging: MergeService,
        diarization: DiarizationService,
    ) -> None:
        self._settings = settings
        self._jobs = jobs
        self._chunks = chunks
        self._store = store
        self._dispatcher = dispatcher
        self._models = models
        self._merging = merging
        self._diarization = diarization

    async def prepare(self, job_id: str) -> None:
        """Normalise the upload, cut it into chunks and queue the work on them.

        Raises:
            InvalidAudio: The recording cannot be used.
            TransientError: Something outside failed (retryable).
        """
        job = await self._begin(job_id)
        if job is None:
            return
        if job.stage is Stage.PREPARE:
            with logged_operation("prepare recording") as outcome:
                started = utc_now()
                prepared = await self._prepare_audio(job)
                await self._chunks.replace_chunks(job.id, _chunk_documents(job.id, prepared.chunks))
                seconds = (utc_now() - started).total_seconds()
                outcome.update(duration_seconds=prepared.duration, chunks=len(prepared.chunks))
                if not await self._record_prepared(job, prepared, seconds):
                    await self._forget_stored(job.id)
                    return
        await self._queue_work(job.id)

    async def transcribe(self, job_id: str, indexes: Sequence[int]) -> None:
        """Transcribe a batch of chunks; whoever finishes the last one queues the merge.

        Chunks that are done stay done. Each result is committed as soon as it is there, so that a
        failure costs only what was under way.

        Raises:
            EngineFailed: whisper-cli crashed or hung (retryable).
            TransientError: Something outside failed (retryable).
        """
        job = await self._jobs.get_job(job_id)
        if job is None or job.status is not JobStatus.PROCESSING:
            return
        while claimed := await self._claim(job.id, indexes):
            with logged_operation("transcribe batch", chunks=len(claimed)):
                try:
                    async with _kept_alive(self._chunks, claimed):
                        await self._transcribe_claimed(job, claimed)
                except BaseException:
                    await self._chunks.release(claimed)
                    raise
        await self._finish_transcription(job)

    async def after_failure(
        self, job_id: str, stage: Stage, attempt: int, unit: Sequence[int], error: Exception
    ) -> None:
        """Decide what a failed attempt means: another one after a pause, or the end of it.

        Args:
            job_id: The job.
            stage: What was attempted.
            attempt: Which attempt it was, from 1.
            unit: Chunk indexes of a batch, or the revision of a diarization.
            error: What went wrong. Errors that are not ours count as retryable: they may be.
        """
        retryable = not isinstance(error, AppError) or error.retryable
        if retryable and await self._dispatcher.dispatch_retry(
            job_id, stage, unit, after_attempt=attempt
        ):
            logger.warning("attempt {} at {} failed; another is queued", attempt, stage.value)
            return
        if stage is Stage.DIARIZE:
            await self._diarization.give_up(job_id, unit[0], error)
            return
        if isinstance(error, AppError):
            reason = JobError(code=error.error_code, message=error.message, retryable=retryable)
        else:
            message = "An unexpected error in the server stopped the job. Its log has the details."
            reason = JobError(code="internal_error", message=message, retryable=True)
        await self._fail(job_id, stage, reason)

    async def _begin(self, job_id: str) -> JobModel | None:
        """Mark a job as being worked on; None if there is nothing to do for it any more."""
        job = await self._jobs.get_job(job_id)
        if job is None or job.status.is_terminal:
            return None
        if job.status is JobStatus.PENDING:
            update = JobUpdate(started_at=utc_now())
            processing = JobStatus.PROCESSING
            await self._jobs.update_status(
                job_id, processing, allowed_from=may_become(processing), update=update
            )
        return job

    async def _prepare_audio(self, job: JobModel) -> PreparedAudio:
        with tempfile.TemporaryDirectory(dir=self._settings.temp_dir) as folder:
            source, wav = Path(folder) / "source", Path(folder) / "audio.wav"
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
            await self._store.put_file(audio_key(job.id), wav, "audio/wav")
        return prepared

    async def _record_prepared(
        self, job: JobModel, prepared: PreparedAudio, seconds: float
    ) -> bool:
        """Move the job on to transcription; False if it was cancelled or deleted meanwhile."""
        silent = sum(not chunk.has_speech for chunk in prepared.chunks)
        notes = [*job.warnings, *prepared.warnings]
        if job.options.model == DEMO_MODEL:
            notes.append(_DEMO_WARNING)
        update = JobUpdate(
            progress=Progress(chunks_done=silent, chunks_total=len(prepared.chunks)),
            warnings=notes,
            timings={"prepare": round(seconds, 3)},
            transcribing_since=utc_now(),
            duration=prepared.duration,
        )
        if any(chunk.has_speech for chunk in prepared.chunks):
            update.diarization = first_diarization(job)
        if not await self._jobs.update_job(job.id, update, while_status={JobStatus.PROCESSING}):
            return False
        await self._jobs.advance_stage(job.id, Stage.PREPARE, Stage.TRANSCRIBE)
        return True

    async def _queue_work(self, job_id: str) -> None:
        """Queue the chunks that are still to be transcribed, and diarization beside them."""
        job = await self._jobs.get_job(job_id)
        asked = job.diarization if job else None
        if asked is not None and asked.state is DiarizationState.PENDING:
            await self._dispatcher.dispatch(job_id, Stage.DIARIZE, [asked.revision])
        chunks = await self._chunks.get_chunks(job_id)
        waiting = [chunk.index for chunk in chunks if chunk.status is not ChunkStatus.DONE]
        if waiting:
            await self._dispatcher.dispatch_batches(job_id, waiting)
        else:
            await self._merging.start_if_ready(job_id)

    async def _claim(self, job_id: str, indexes: Sequence[int]) -> list[ChunkModel]:
        """Take what can be taken of a batch; empty when all of it is done (or gone).

        Chunks that another holds are waited for: its lease ends soon after it does.
        """
        while True:
            claimed = await self._chunks.claim(job_id, indexes, _LEASE_SECONDS)
            if claimed or not await self._chunks.count_unfinished(job_id, indexes):
                return claimed
            await asyncio.sleep(_LEASE_POLL_SECONDS)

    async def _transcribe_claimed(self, job: JobModel, claimed: Sequence[ChunkModel]) -> None:
        transcriber = make_transcriber(self._settings, self._models.path_of(job.options.model))
        options = TranscribeOptions(job.options.language, job.options.prompt)
        by_index = {chunk.index: chunk for chunk in claimed}

        async def read_range(offset: int, length: int) -> bytes:
            return await self._store.read(audio_key(job.id), offset, length)

        with tempfile.TemporaryDirectory(dir=self._settings.temp_dir) as folder:
            chunks = [to_chunk(document) for document in claimed]
            stage = transcribe_chunks(transcriber, read_range, chunks, options, Path(folder))
            async with aclosing(stage) as results:
                async for result in results:
                    chunk = by_index[result.index]
                    heard = ChunkResult.model_validate(asdict(result))
                    if not await self._chunks.commit(chunk, heard):
                        logger.warning("chunk {} is no longer ours: stopping", chunk.index)
                        return
                    done = await self._chunks.count(job.id, ChunkStatus.DONE)
                    await self._jobs.record_chunks_done(job.id, done)

    async def _finish_transcription(self, job: JobModel) -> None:
        """Once every chunk is done, note how long it took and see to the merge."""
        done = await self._chunks.count(job.id, ChunkStatus.DONE)
        if done < await self._chunks.count(job.id):
            return
        seconds = (utc_now() - (job.transcribing_since or utc_now())).total_seconds()
        await self._jobs.update_job(job.id, JobUpdate(timings={"transcribe": seconds}))
        await self._merging.start_if_ready(job.id)

    async def _fail(self, job_id: str, stage: Stage, error: JobError) -> None:
        job = await self._jobs.get_job(job_id)
        if job is None or job.status.is_terminal:
            return
        if job.result is not None:
            # It has been transcribed long ago: what another stage reports comes late.
            if stage is Stage.MERGE:
                await self._diarization.keep_result(job, error.message)
            return
        failed = JobStatus.FAILED
        update = JobUpdate(error=error, finished_at=utc_now())
        if await self._jobs.update_status(
            job_id, failed, allowed_from=may_become(failed), update=update
        ):
            logger.bind(code=error.code).error("job failed: {}", error.message)
            await self._store.delete(audio_key(job_id))
            if job.diarization and job.diarization.object:
                await self._store.delete(job.diarization.object)

    async def _forget_stored(self, job_id: str) -> None:
        """Remove what a deleted or cancelled job left behind while it was being worked on."""
        with bound(job_id=job_id):
            await self._chunks.delete_chunks(job_id)
            await self._store.delete_prefix(job_prefix(job_id))


@asynccontextmanager
async def _kept_alive(
    repository: ChunkRepository, claimed: Sequence[ChunkModel]
) -> AsyncIterator[None]:
    """Renew the leases of claimed chunks for as long as the block runs."""

    async def renew() -> None:
        while True:
            await asyncio.sleep(_LEASE_SECONDS / 3)
            try:
                await repository.renew(claimed, _LEASE_SECONDS)
            except AppError as error:
                logger.warning("leases could not be renewed: {}", error.message)

    renewing = asyncio.create_task(renew())
    try:
        yield
    finally:
        renewing.cancel()


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
