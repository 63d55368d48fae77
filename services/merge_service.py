"""The end of a job: words and speakers are put together once both are there, and stored."""

from __future__ import annotations

import json
import tempfile
import uuid
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from core.config import Settings
from core.logger import bound, logged_operation
from core.storage import ObjectStore
from repositories.chunk_repository import ChunkRepository
from repositories.models import (
    ChunkModel,
    ChunkStatus,
    DiarizationState,
    JobModel,
    JobStatus,
    JobUpdate,
    Result,
    SpeakerModel,
    Stage,
    utc_now,
)
from repositories.task_repository import TaskRepository
from services.dispatcher import Dispatcher
from services.lifecycle import audio_key, job_prefix, may_become, transcript_key
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
    """Starts the merge when nothing is missing, and runs it."""

    def __init__(
        self,
        settings: Settings,
        jobs: TaskRepository,
        chunks: ChunkRepository,
        store: ObjectStore,
        dispatcher: Dispatcher,
    ) -> None:
        self._settings = settings
        self._jobs = jobs
        self._chunks = chunks
        self._store = store
        self._dispatcher = dispatcher

    async def start_if_ready(self, job_id: str) -> None:
        """Queue the merge, once, if every chunk is done and so is diarization, if asked for.

        Both sides record their end before they call this, so that the later one sees both.
        """
        total = await self._chunks.count(job_id)
        done = await self._chunks.count(job_id, ChunkStatus.DONE)
        job = await self._jobs.get_job(job_id)
        if job is None or job.status is not JobStatus.PROCESSING or total == 0 or done < total:
            return
        if job.diarization and job.diarization.state is DiarizationState.PENDING:
            await self._jobs.advance_stage(job_id, Stage.TRANSCRIBE, Stage.DIARIZE)
            return
        for stage in (Stage.TRANSCRIBE, Stage.DIARIZE):
            await self._jobs.advance_stage(job_id, stage, Stage.MERGE)
        # Queued also by those who did not win: the id is the same, so it is queued once. Each
        # diarization has a merge of its own, for RQ may not have booked the last one as ended.
        revision = [job.diarization.revision] if job.diarization else []
        await self._dispatcher.dispatch(job_id, Stage.MERGE, revision)

    async def merge(self, job_id: str) -> None:
        """Put the chunks' words together, give them speakers, store it and complete the job.

        Raises:
            IncompleteResults: Chunks do not fit together.
            TransientError: Something outside failed (retryable).
        """
        job = await self._jobs.get_job(job_id)
        if job is None or job.status is not JobStatus.PROCESSING or job.stage is not Stage.MERGE:
            return
        with logged_operation("merge and store transcript"):
            started = utc_now()
            transcript = _merge(job, await self._chunks.get_chunks(job.id))
            if job.diarization and job.diarization.object:
                values = json.loads(await self._store.read(job.diarization.object))
                transcript = assign_speakers(transcript, Diarization.from_dict(values))
            names = await self._names_for(job, transcript)
            timings = job.timings | {"merge": (utc_now() - started).total_seconds()}
            await self._complete(job, transcript, names, timings)

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
    ) -> None:
        """Store the transcript under a new name, then point the job to it, then clean up."""
        key = transcript_key(job.id, uuid.uuid4().hex[:12])
        values = transcript_to_dict(
            replace(transcript, warnings=(*job.all_warnings, *transcript.warnings)),
            job_id=job.id,
            model=job.options.model,
            diarization_model=job.diarization.model if job.diarization else None,
            timings=timings,
            word_timestamps=job.options.word_timestamps,
        )
        await put_json(self._store, self._settings, key, values)
        update = JobUpdate(
            stage=Stage.DONE,
            result=_result(key, transcript),
            speaker_names=names,
            timings=timings,
            finished_at=utc_now(),
        )
        completed = JobStatus.COMPLETED
        if await self._jobs.update_status(
            job.id, completed, allowed_from=may_become(completed), update=update
        ):
            await self._forget_intermediate(job)
        elif await self._jobs.get_job(job.id) is None:
            await self._forget_stored(job.id)
        else:
            await self._store.delete(key)

    async def _forget_intermediate(self, job: JobModel) -> None:
        """Remove what only the stages needed, and the transcript that this one replaces."""
        await self._store.delete(audio_key(job.id))
        if job.diarization and job.diarization.object:
            await self._store.delete(job.diarization.object)
        if job.result is not None:
            await self._store.delete(job.result.object)

    async def _forget_stored(self, job_id: str) -> None:
        """Remove what a deleted or cancelled job left behind while it was being worked on."""
        with bound(job_id=job_id):
            await self._chunks.delete_chunks(job_id)
            await self._store.delete_prefix(job_prefix(job_id))


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


def _merge(job: JobModel, documents: Sequence[ChunkModel]) -> Transcript:
    """Return the transcript of a job whose chunks are all done."""
    results = [
        ChunkTranscript(
            document.index,
            document.language or job.options.language,
            tuple(Segment.from_dict(segment) for segment in document.segments),
            document.covered_seconds,
            document.speech_seconds,
        )
        for document in documents
        if document.has_speech and document.status is ChunkStatus.DONE
    ]
    return merge_results([to_chunk(d) for d in documents], results, job.duration or 0.0)


def _result(key: str, transcript: Transcript) -> Result:
    return Result(
        object=key,
        language=transcript.language,
        duration=transcript.duration,
        segments=len(transcript.segments),
        words=transcript.word_count,
        speakers=[
            SpeakerModel(id=speaker.id, label=speaker.label, speech_seconds=speaker.speech_seconds)
            for speaker in transcript.speakers
        ],
    )
