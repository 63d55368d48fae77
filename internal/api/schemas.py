"""What answers look like; the OpenAPI description is made of these and of `internal.api.forms`."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, Self

from pydantic import BaseModel, Field

from repositories.models import DiarizationState, JobModel, JobStatus, Stage
from services.task_service import TaskStatus, percent_done

_EXAMPLE_ID = "7d3f0c2be0c34c5fa0a1b4f5b0d1e2f3"


class ErrorBody(BaseModel):
    """The shape of every error."""

    code: str = Field(examples=["task_not_found"])
    message: str = Field(examples=["There is no task with this id. It may have been deleted."])
    details: dict[str, Any] = {}
    request_id: str = Field(examples=["5f0c6d1a2b3c4d5e"])


class TaskErrorOut(BaseModel):
    """Why a task failed."""

    code: str
    message: str
    retryable: bool


class ProgressOut(BaseModel):
    """How far a task is."""

    percent: float = Field(ge=0, le=100, examples=[62.5])
    chunks_done: int = Field(examples=[5])
    chunks_total: int = Field(examples=[8])
    diarization_percent: float | None = Field(
        None, ge=0, le=100, description="Of finding the speakers; None if nobody asked."
    )
    eta_seconds: float | None = Field(None, description="None until a chunk is finished.")

    @classmethod
    def of(cls, job: JobModel, eta_seconds: float | None) -> Self:
        """Return a job's progress as clients see it."""
        asked, diarized = job.diarization, None
        if asked is not None:
            pending = asked.state is DiarizationState.PENDING
            diarized = round(100 * asked.progress, 1) if pending else 100.0
        return cls(
            percent=percent_done(job),
            chunks_done=job.progress.chunks_done,
            chunks_total=job.progress.chunks_total,
            diarization_percent=diarized,
            eta_seconds=eta_seconds,
        )


class TaskOut(BaseModel):
    """A task, as listed and as answered to an upload."""

    id: str = Field(examples=[_EXAMPLE_ID])
    status: JobStatus
    stage: Stage
    file_name: str = Field(examples=["interview.mp3"])
    progress: ProgressOut
    warnings: list[str] = []
    error: TaskErrorOut | None = None
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    expires_at: datetime | None = Field(None, description="When it will be deleted, if ever.")
    attempt: int = Field(1, description="How often it was begun: once, and at each retry.")
    reused_from: str | None = Field(
        None, description="The task whose transcript this one took over, being of the same bytes."
    )
    webhook_id: str | None = Field(None, description="The webhook that is told of its end.")

    @classmethod
    def of(cls, job: JobModel, *, eta_seconds: float | None = None) -> Self:
        """Return a job as clients see it."""
        return cls(
            id=job.id,
            status=job.status,
            stage=job.stage,
            file_name=job.source.file_name,
            progress=ProgressOut.of(job, eta_seconds),
            warnings=job.all_warnings,
            error=TaskErrorOut(**job.error.model_dump()) if job.error else None,
            created_at=job.created_at,
            started_at=job.started_at,
            finished_at=job.finished_at,
            expires_at=job.expires_at,
            attempt=job.attempt,
            reused_from=job.reused_from,
            webhook_id=job.webhook_id,
        )


class TaskStatusOut(TaskOut):
    """A task with its place in the queue."""

    queue_position: int | None = Field(None, description="From 1; None once work has begun.")

    @classmethod
    def of_status(cls, status: TaskStatus) -> Self:
        """Return a task's status as clients see it."""
        task = cls.of(status.job, eta_seconds=status.eta_seconds)
        changes = {
            "queue_position": status.queue_position,
            "warnings": [*task.warnings, *status.notes],
        }
        return task.model_copy(update=changes)


class TaskListOut(BaseModel):
    """One page of tasks, newest first."""

    tasks: list[TaskOut]
    next_cursor: str | None = Field(None, description="Pass as `cursor` for the next page.")


class MetadataOut(BaseModel):
    """What is known of a recording and of how it was processed."""

    id: str = Field(examples=[_EXAMPLE_ID])
    file_name: str
    size_bytes: int
    sha256: str
    format: str = Field(examples=["mp3"])
    codec: str = Field(examples=["mp3"])
    duration: float | None = Field(None, description="Seconds; decoded, or as declared before.")
    options: dict[str, Any]
    language: str | None = None
    segments: int | None = None
    words: int | None = None
    speakers: int | None = None
    gaps: int | None = Field(None, description="Stretches that could not be transcribed.")
    timings: dict[str, float] = Field({}, description="Seconds that each stage took.")

    @classmethod
    def of(cls, job: JobModel) -> Self:
        """Return a job's facts as clients see them."""
        source, result = job.source, job.result
        return cls(
            id=job.id,
            options=job.options.model_dump(exclude={"known_speaker_digests"}),
            duration=source.duration if job.duration is None else job.duration,
            language=result.language if result else None,
            segments=result.segments if result else None,
            words=result.words if result else None,
            speakers=len(result.speakers) if result else None,
            gaps=result.gaps if result else None,
            timings=job.timings,
            **source.model_dump(exclude={"object", "duration"}),
        )


class WordOut(BaseModel):
    """A word in time."""

    word: str
    start: float
    end: float
    confidence: float
    speaker: str | None = Field(None, examples=["SPEAKER_00"])


class SegmentOut(BaseModel):
    """A phrase of a transcript."""

    id: int
    start: float
    end: float
    text: str
    confidence: float
    suspect: bool = Field(description="Looks invented: looping, improbable or impossibly fast.")
    speaker: str | None = Field(None, examples=["SPEAKER_00"])
    overlap: bool = Field(False, description="Somebody else talks at the same time.")
    words: list[WordOut] | None = None


class SpeakerOut(BaseModel):
    """A speaker of a transcript."""

    id: str = Field(examples=["SPEAKER_00"])
    label: str = Field(
        examples=["Laura"],
        description="The name given, or `Speaker 1`, …; `Unknown 1`, … beside known speakers.",
    )
    speech_seconds: float
    known: bool | None = Field(
        None,
        description="Whether it is a known speaker's voice. None where none were looked for.",
    )
    similarity: float | None = Field(
        None,
        description="Of the voice to that known speaker's, or else to the most alike one.",
        ge=-1,
        le=1,
    )


class SpeakersOut(BaseModel):
    """The speakers of a transcript."""

    speakers: list[SpeakerOut]

    @classmethod
    def of(cls, job: JobModel) -> Self:
        """Return a job's speakers with the names that were given to them."""
        found = job.result.speakers if job.result else []
        return cls(
            speakers=[
                SpeakerOut(
                    id=speaker.id,
                    label=job.speaker_names.get(speaker.id, speaker.label),
                    **speaker.model_dump(exclude={"id", "label"}),
                )
                for speaker in found
            ]
        )


class TurnOut(BaseModel):
    """A stretch in which one speaker talks; those of different speakers may overlap."""

    start: float
    end: float
    speaker: str = Field(examples=["SPEAKER_00"])


class GapOut(BaseModel):
    """A stretch that could not be transcribed. `POST /{id}/retry` tries it again."""

    start: float
    end: float
    reason: str


class TranscriptOut(BaseModel):
    """A transcript."""

    job_id: str = Field(examples=[_EXAMPLE_ID])
    language: str = Field(description="The one spoken.", examples=["en"])
    language_confidence: float | None = Field(
        None, description="How sure the model is of it, 0 to 1; None where it was told."
    )
    duration: float = Field(examples=[111.9])
    text: str = Field(examples=["Good morning everyone."])
    segments: list[SegmentOut]
    speakers: list[SpeakerOut] = []
    turns: list[TurnOut] = []
    gaps: list[GapOut] = []
    quality: dict[str, Any]
    models: dict[str, str] = Field(examples=[{"transcription": "base.en"}])
    warnings: list[str] = []


class HealthOut(BaseModel):
    """Whether the process, or each server that it needs, is well."""

    status: Literal["ok", "degraded", "unavailable"]
    checks: dict[str, str] = {}
