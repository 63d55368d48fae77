"""The end of a job: words and speakers are put together once both are there, and stored."""

from __future__ import annotations

import asyncio
import json
import tempfile
import uuid
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from core.clock import utc_now
from core.config import Settings
from core.logger import bound, logged_operation
from core.storage import ObjectStore
from repositories.chunk_repository import ChunkRepository
from repositories.models import (
    ChunkModel,
    ChunkStatus,
    JobModel,
    JobStatus,
    Progress,
    Result,
    SpeakerModel,
    Stage,
    UnitModel,
)
from repositories.task_repository import TaskRepository
from services.endings import Endings
from services.lifecycle import audio_key, ending, may_become, transcript_key
from worker.processor import merge_results, transcript_to_dict
from worker.speakers import assign_speakers, carry_labels
from worker.transcript import (
    Chunk,
    ChunkTranscript,
    Diarization,
    Segment,
    SpeakerTurn,
    Transcript,
)


class MergeService:
    """The last stage."""

    def __init__(
        self,
        settings: Settings,
        jobs: TaskRepository,
        chunks: ChunkRepository,
        store: ObjectStore,
        endings: Endings,
    ) -> None:
        self._settings = settings
        self._jobs = jobs
        self._chunks = chunks
        self._store = store
        self._endings = endings

    async def merge(self, unit: UnitModel) -> None:
        """Put the chunks' words together, give them speakers, store it and complete the job.

        Raises:
            IncompleteResults: Chunks do not fit together.
            TransientError: Something outside failed (retryable).
        """
        job = await self._jobs.get_job(unit.job_id)
        if job is None or job.status is not JobStatus.PROCESSING or job.stage is not Stage.MERGE:
            return
        with logged_operation("merge and store transcript"):
            started = utc_now()
            chunks = await self._chunks.get_chunks(job.id)
            # In a thread: of ten hours it takes seconds, in which the lease has to be renewed.
            transcript = await asyncio.to_thread(_merge, job, chunks)
            if job.diarization and job.diarization.object:
                values = json.loads(await self._store.read(job.diarization.object))
                found = Diarization.from_dict(values)
                transcript = await asyncio.to_thread(assign_speakers, transcript, found)
            names = await self._names_for(job, transcript)
            timings = job.timings | {"merge": (utc_now() - started).total_seconds()}
            done = sum(chunk.status is ChunkStatus.DONE for chunk in chunks)
            progress = Progress(chunks_done=done, chunks_total=len(chunks))
            await self._complete(job, transcript, names, timings, progress)

    async def _names_for(self, job: JobModel, transcript: Transcript) -> dict[str, str]:
        """Return the names that people gave, on the speakers who they are now."""
        if not job.speaker_names or job.result is None:
            return {}
        before = json.loads(await self._store.read(job.result.object))["turns"]
        turns = [SpeakerTurn(**turn) for turn in before]
        return carry_labels(job.speaker_names, turns, transcript.turns)

    async def _complete(
        self,
        job: JobModel,
        transcript: Transcript,
        names: dict[str, str],
        timings: dict[str, float],
        progress: Progress,
    ) -> None:
        """Store the transcript under a new name, then point the job to it, then clean up."""
        key = transcript_key(job.id, uuid.uuid4().hex[:12])
        before = job.model_copy(update={"result": None})  # whose gaps may be none any more
        values = transcript_to_dict(
            replace(transcript, warnings=(*before.all_warnings, *transcript.warnings)),
            job_id=job.id,
            model=job.options.model,
            diarization_model=job.diarization.model if job.diarization else None,
            timings=timings,
            word_timestamps=job.options.word_timestamps,
        )
        await put_json(self._store, self._settings, key, values)
        update = ending(
            job,
            stage=Stage.DONE,
            result=_result(key, transcript),
            speaker_names=names,
            timings=timings,
            progress=progress,
        )
        completed = JobStatus.COMPLETED
        won = await self._jobs.update_status(
            job.id,
            completed,
            allowed_from=may_become(completed),
            while_stage=Stage.MERGE,
            while_attempt=job.attempt,
            update=update,
        )
        # Looked at again: our own first try may have been carried out, and its answer lost.
        now = None if won else await self._jobs.get_job(job.id)
        if won or (now is not None and now.result is not None and now.result.object == key):
            await self._forget_intermediate(job)
        elif now is None:
            with bound(job_id=job.id):
                await self._endings.forget_stored(job.id)
        else:
            await self._store.delete(key)

    async def _forget_intermediate(self, job: JobModel) -> None:
        """Remove what only the stages needed, and the transcript that this one replaces."""
        await self._store.delete(audio_key(job.id, job.attempt))
        if job.diarization and job.diarization.object:
            await self._store.delete(job.diarization.object)
        if job.result is not None:
            await self._store.delete(job.result.object)


async def put_json(store: ObjectStore, settings: Settings, key: str, values: Any) -> None:
    """Store JSON values under a key."""
    with tempfile.TemporaryFile(dir=settings.temp_dir) as file:
        file.write(json.dumps(values, ensure_ascii=False).encode())
        length = file.tell()
        file.seek(0)
        await store.put(key, file, length, "application/json")


def to_chunk(document: ChunkModel) -> Chunk:
    """Return the pipeline's view of a chunk's document."""
    return Chunk(
        index=document.index,
        start=document.start,
        end=document.end,
        core_start=document.core_start,
        core_end=document.core_end,
        has_speech=document.has_speech,
        skips=tuple(document.skips),
    )


def to_chunk_transcript(document: ChunkModel, language: str) -> ChunkTranscript:
    """Return the pipeline's view of what was heard in a chunk that is done or given up.

    Args:
        document: The chunk's.
        language: The job's, for a chunk that has none of its own.
    """
    if document.error is not None:
        unheard = to_chunk(document).heard_seconds
        reason = document.error.message
        return ChunkTranscript(document.index, "", (), 0.0, unheard, failure=reason)
    return ChunkTranscript(
        document.index,
        document.language or language,
        tuple(Segment.from_dict(segment) for segment in document.segments),
        document.covered_seconds,
        document.speech_seconds,
        language_confidence=document.language_confidence,
    )


def _merge(job: JobModel, documents: Sequence[ChunkModel]) -> Transcript:
    """Return the transcript of a job whose chunks are all settled."""
    results = [
        to_chunk_transcript(document, job.options.language)
        for document in documents
        if document.has_speech and document.status is not ChunkStatus.PENDING
    ]
    transcript = merge_results([to_chunk(d) for d in documents], results, job.duration or 0.0)
    return replace(transcript, warnings=_gap_warnings(transcript))


def _gap_warnings(transcript: Transcript) -> tuple[str, ...]:
    return tuple(
        f"From {_clock(gap.start)} to {_clock(gap.end)} nothing could be transcribed: {gap.reason}"
        for gap in transcript.gaps
    )


def _clock(seconds: float) -> str:
    minutes, second = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{second:02}"


def _result(key: str, transcript: Transcript) -> Result:
    return Result(
        object=key,
        language=transcript.language,
        duration=transcript.duration,
        segments=len(transcript.segments),
        words=transcript.word_count,
        gaps=len(transcript.gaps),
        speakers=[SpeakerModel(**asdict(speaker)) for speaker in transcript.speakers],
    )
