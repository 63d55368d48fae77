"""Finding out who speaks when: the stage, and what becomes of the job where it fails.

It runs beside transcription, on its own queue. Whatever goes wrong here never costs the transcript:
the job completes without speakers and says why.
"""

from __future__ import annotations

import tempfile
import time
import uuid
from dataclasses import asdict
from pathlib import Path

from core.config import Settings
from core.errors import AppError, NotFound
from core.logger import logged_operation, logger
from core.storage import ObjectStore
from repositories.models import (
    DiarizationModel,
    DiarizationState,
    JobModel,
    JobStatus,
    JobUpdate,
    Stage,
    utc_now,
)
from repositories.task_repository import TaskRepository
from services.engines import DEMO_PIPELINE, pipeline_name
from services.lifecycle import audio_key, diarization_key, may_become
from services.merge_service import MergeService, put_json
from worker.diarizer import SpeakerHints
from worker.diarizer_process import DiarizerClient
from worker.media import find_ffmpeg, normalise

_PROGRESS_SECONDS = 1.0

_DEMO_WARNING = (
    "Speakers were told apart by the demo pipeline, which knows synthetic voices best. For real "
    "recordings, set DIARIZATION_PIPELINE to pyannote/speaker-diarization-community-1 and HF_TOKEN."
)


class DiarizationService:
    """The diarization stage."""

    def __init__(
        self,
        settings: Settings,
        jobs: TaskRepository,
        store: ObjectStore,
        merging: MergeService,
    ) -> None:
        self._settings = settings
        self._jobs = jobs
        self._store = store
        self._merging = merging

    async def diarize(self, job_id: str, revision: int, diarizer: DiarizerClient) -> None:
        """Find the speaker turns of a recording and store them; perhaps queue the merge.

        Args:
            job_id: The job.
            revision: Which of its diarizations; one that has been replaced does nothing.
            diarizer: The consumer's engine.

        Raises:
            EngineMissing: A package, the token, the licence or the pipeline is missing.
            EngineFailed: The engine crashed (retryable).
            TransientError: Something outside failed (retryable).
        """
        job = await self._jobs.get_job(job_id)
        if job is not None and _is_waiting(job, revision):
            with logged_operation("diarize recording"):
                await self._diarize(job, revision, diarizer)
        # Also where there was nothing to do: an earlier attempt may have died right before this.
        await self._merging.start_if_ready(job_id)

    async def give_up(self, job_id: str, revision: int, error: Exception) -> None:
        """Let a job go on without speakers, with a warning that says why."""
        job = await self._jobs.get_job(job_id)
        if job is None or not _is_waiting(job, revision):
            return
        reason = error.message if isinstance(error, AppError) else "An unexpected error."
        if job.result is not None:
            await self.keep_result(job, reason)
            return
        warning = f"There are no speaker labels: {reason}"
        await self._jobs.settle_diarization(
            job.id, revision, DiarizationState.FAILED, warning=warning
        )
        await self._merging.start_if_ready(job.id)

    async def keep_result(self, job: JobModel, reason: str) -> None:
        """Complete a job, whose speakers were asked for again, with the transcript that it had."""
        assert job.diarization is not None
        warning = f"The speakers could not be found again: {reason} Nothing has changed."
        changes = {"state": DiarizationState.FAILED, "warning": warning, "object": None}
        update = JobUpdate(
            stage=Stage.DONE,
            finished_at=utc_now(),
            diarization=job.diarization.model_copy(update=changes),
        )
        completed = JobStatus.COMPLETED
        if await self._jobs.update_status(
            job.id, completed, allowed_from=may_become(completed), update=update
        ):
            logger.warning("the earlier transcript stays: {}", reason)
            if job.diarization.object:
                await self._store.delete(job.diarization.object)

    async def _diarize(self, job: JobModel, revision: int, diarizer: DiarizerClient) -> None:
        started = time.monotonic()
        key = await self._store_turns(job, diarizer)
        seconds = round(time.monotonic() - started, 3)
        outcome = {"object": key, "model": pipeline_name(self._settings)}
        if outcome["model"] == DEMO_PIPELINE:
            outcome["warning"] = _DEMO_WARNING
        done = DiarizationState.DONE
        if not await self._jobs.settle_diarization(
            job.id, revision, done, seconds=seconds, **outcome
        ):
            logger.warning("the diarization is no longer wanted")
            await self._store.delete(key)

    async def _store_turns(self, job: JobModel, diarizer: DiarizerClient) -> str:
        """Run the engine over the recording; return where its turns are stored."""
        asked = job.diarization
        assert asked is not None
        hints = SpeakerHints(asked.num_speakers, asked.min_speakers, asked.max_speakers)
        shown = 0.0

        async def on_progress(share: float) -> None:
            nonlocal shown
            if time.monotonic() - shown >= _PROGRESS_SECONDS:
                shown = time.monotonic()
                await self._jobs.record_diarization_progress(job.id, asked.revision, share)

        with tempfile.TemporaryDirectory(dir=self._settings.temp_dir) as folder:
            wav = await self._fetch_audio(job, Path(folder))
            turns = await diarizer.diarize(wav, hints, on_progress)
            key = diarization_key(job.id, asked.revision, uuid.uuid4().hex[:12])
            await put_json(self._store, self._settings, key, asdict(turns))
        return key

    async def _fetch_audio(self, job: JobModel, folder: Path) -> Path:
        """Return the normalised WAV; of a finished job it is made from the upload once more."""
        wav = folder / "audio.wav"
        try:
            await self._store.download(audio_key(job.id), wav)
        except NotFound:
            source = folder / "source"
            await self._store.download(job.source.object, source)
            with source.open("rb") as file:
                await normalise(
                    find_ffmpeg(self._settings.ffmpeg_executable),
                    file,
                    wav,
                    max_seconds=self._settings.max_duration_seconds,
                    declared=job.source.duration,
                )
        return wav


def first_diarization(job: JobModel) -> DiarizationModel | None:
    """Return what a job's options ask for, None if nothing."""
    options = job.options
    if not options.diarize:
        return None
    return DiarizationModel(
        num_speakers=options.num_speakers,
        min_speakers=options.min_speakers,
        max_speakers=options.max_speakers,
    )


def _is_waiting(job: JobModel, revision: int) -> bool:
    asked = job.diarization
    return (
        job.status is JobStatus.PROCESSING
        and asked is not None
        and asked.revision == revision
        and asked.state is DiarizationState.PENDING
    )
