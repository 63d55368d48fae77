"""Finding out who speaks when: the stage, and what becomes of the job where it fails.

It runs beside transcription, on its own queue. Whatever goes wrong here never costs the transcript:
the job completes without speakers and says why.
"""

from __future__ import annotations

import time
import uuid
from dataclasses import asdict
from pathlib import Path

from core.config import Settings
from core.errors import NotFound
from core.logger import logged_operation, logger
from core.storage import ObjectStore
from core.workspace import working_folder
from repositories.models import (
    DiarizationModel,
    DiarizationState,
    JobError,
    JobModel,
    JobStatus,
    UnitModel,
)
from repositories.task_repository import TaskRepository
from services.endings import Endings
from services.engines import DEMO_PIPELINE, pipeline_name
from services.known_speakers import fetch_voices
from services.lifecycle import audio_key, diarization_key
from services.merge_service import put_json
from services.planner import Planner
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
        planner: Planner,
        endings: Endings,
    ) -> None:
        self._settings = settings
        self._jobs = jobs
        self._store = store
        self._planner = planner
        self._endings = endings

    async def diarize(self, unit: UnitModel, diarizer: DiarizerClient) -> None:
        """Find the speaker turns of a recording and store them.

        Args:
            unit: Names the job, and which of its diarizations; one that has been replaced does
                nothing.
            diarizer: The consumer's engine.

        Raises:
            EngineMissing: A package, the token, the licence or the pipeline is missing.
            EngineFailed: The engine crashed (retryable).
            TransientError: Something outside failed (retryable).
        """
        job = await self._jobs.get_job(unit.job_id)
        if job is not None and _is_waiting(job, unit.revision):
            with logged_operation("diarize recording"):
                await self._diarize(job, unit.revision, diarizer)
        # Also where there was nothing to do: an earlier attempt may have died right before this.
        await self._planner.advance(unit.job_id)

    async def give_up(self, job: JobModel, revision: int, reason: JobError) -> None:
        """Let a job go on without speakers, with a warning that says why."""
        if not _is_waiting(job, revision):
            return
        if job.result is not None:
            await self._endings.keep_result(job, reason.message)
            return
        warning = f"There are no speaker labels: {reason.message}"
        await self._jobs.settle_diarization(
            job.id, revision, DiarizationState.FAILED, warning=warning
        )

    async def _diarize(self, job: JobModel, revision: int, diarizer: DiarizerClient) -> None:
        started = time.monotonic()
        key = await self._store_turns(job, diarizer)
        seconds = round(time.monotonic() - started, 3)
        outcome: dict[str, str | float] = {"object": key, "model": pipeline_name(self._settings)}
        if job.options.known_speakers:
            outcome["threshold"] = self._settings.known_speaker_threshold
        if outcome["model"] == DEMO_PIPELINE:
            outcome["warning"] = _DEMO_WARNING
        done = DiarizationState.DONE
        if await self._jobs.settle_diarization(job.id, revision, done, seconds=seconds, **outcome):
            return
        # Our own first try may have been carried out, and its answer lost.
        now = await self._jobs.get_job(job.id)
        if now is None or now.diarization is None or now.diarization.object != key:
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

        with working_folder(self._settings.temp_dir) as folder:
            wav = await self._fetch_audio(job, folder)
            known = await fetch_voices(
                self._store, job, folder, self._settings.known_speaker_threshold
            )
            turns = await diarizer.diarize(wav, hints, on_progress, known)
            key = diarization_key(job.id, asked.revision, uuid.uuid4().hex[:12])
            await put_json(self._store, self._settings, key, asdict(turns))
        return key

    async def _fetch_audio(self, job: JobModel, folder: Path) -> Path:
        """Return the normalised WAV; of a finished job it is made from the upload once more."""
        wav = folder / "audio.wav"
        try:
            await self._store.download(audio_key(job.id, job.attempt), wav)
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
    return DiarizationModel(**options.counts) if options.diarize else None


def _is_waiting(job: JobModel, revision: int) -> bool:
    asked = job.diarization
    return (
        job.status is JobStatus.PROCESSING
        and asked is not None
        and asked.revision == revision
        and asked.state is DiarizationState.PENDING
    )
