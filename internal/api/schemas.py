"""What requests and answers look like; the OpenAPI description is made of these."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from fastapi import UploadFile
from pydantic import BaseModel, ConfigDict, Field

from repositories.models import JobModel, JobStatus, Stage
from services.task_service import TaskStatus, percent_done

# It becomes an argument of a program, and those end at a NUL.
_NO_NUL = "^[^\\x00]*$"
_EXAMPLE_ID = "7d3f0c2be0c34c5fa0a1b4f5b0d1e2f3"


class UploadForm(BaseModel):
    """The form of `POST /upload`. Fields that are not listed are refused."""

    model_config = ConfigDict(extra="forbid")

    file: Annotated[
        UploadFile,
        Field(description="The recording: wav, mp3, flac, ogg, opus, m4a, mp4, webm, mkv, …"),
    ]
    language: Annotated[
        str | None,
        Field(description="Code of the language spoken, or `auto`.", examples=["en"], max_length=8),
    ] = None
    model: Annotated[
        str | None,
        Field(description="Speech model; the server's default where omitted.", max_length=64),
    ] = None
    prompt: Annotated[
        str | None,
        Field(
            description="Names and words to expect, in the style to write.",
            max_length=1000,
            pattern=_NO_NUL,
        ),
    ] = None
    word_timestamps: Annotated[bool, Field(description="Whether segments list their words.")] = True
    chunking: Annotated[
        Literal["silence", "fixed"],
        Field(description="Cut in quiet gaps (best), or every 28 s whatever is said there."),
    ] = "silence"


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
    eta_seconds: float | None = Field(None, description="None until a chunk is finished.")


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

    @classmethod
    def of(cls, job: JobModel, *, eta_seconds: float | None = None) -> Self:
        """Return a job as clients see it."""
        return cls(
            id=job.id,
            status=job.status,
            stage=job.stage,
            file_name=job.source.file_name,
            progress=ProgressOut(
                percent=percent_done(job),
                chunks_done=job.progress.chunks_done,
                chunks_total=job.progress.chunks_total,
                eta_seconds=eta_seconds,
            ),
            warnings=job.warnings,
            error=TaskErrorOut(**job.error.model_dump()) if job.error else None,
            created_at=job.created_at,
            started_at=job.started_at,
            finished_at=job.finished_at,
        )


class TaskStatusOut(TaskOut):
    """A task with its place in the queue."""

    queue_position: int | None = Field(None, description="From 1; None once work has begun.")

    @classmethod
    def of_status(cls, status: TaskStatus) -> Self:
        """Return a task's status as clients see it."""
        task = cls.of(status.job, eta_seconds=status.eta_seconds)
        return task.model_copy(update={"queue_position": status.queue_position})


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
    timings: dict[str, float] = Field({}, description="Seconds that each stage took.")

    @classmethod
    def of(cls, job: JobModel) -> Self:
        """Return a job's facts as clients see them."""
        source, result = job.source, job.result
        return cls(
            id=job.id,
            options=job.options.model_dump(),
            duration=source.duration if job.duration is None else job.duration,
            language=result.language if result else None,
            segments=result.segments if result else None,
            words=result.words if result else None,
            timings=job.timings,
            **source.model_dump(exclude={"object", "duration"}),
        )


class WordOut(BaseModel):
    """A word in time."""

    word: str
    start: float
    end: float
    confidence: float


class SegmentOut(BaseModel):
    """A phrase of a transcript."""

    id: int
    start: float
    end: float
    text: str
    confidence: float
    suspect: bool = Field(description="Looks invented: looping, improbable or impossibly fast.")
    words: list[WordOut] | None = None


class TranscriptOut(BaseModel):
    """A transcript."""

    job_id: str = Field(examples=[_EXAMPLE_ID])
    language: str = Field(examples=["en"])
    duration: float = Field(examples=[111.9])
    text: str = Field(examples=["Good morning everyone."])
    segments: list[SegmentOut]
    quality: dict[str, Any]
    models: dict[str, str] = Field(examples=[{"transcription": "base.en"}])
    warnings: list[str] = []


class HealthOut(BaseModel):
    """Whether the process, or each server that it needs, is well."""

    status: Literal["ok", "unavailable"]
    checks: dict[str, str] = {}
