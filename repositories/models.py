"""The documents that MongoDB keeps. Plain data: no queries, no rules.

Positions in a recording are float seconds from its start.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal

from pydantic import Field

from core.clock import utc_now
from repositories.document import EPOCH as EPOCH
from repositories.document import Document as _Document
from repositories.document import Moment as Moment
from repositories.document import from_milliseconds as from_milliseconds
from repositories.document import plain
from repositories.document import to_milliseconds as to_milliseconds


class JobStatus(StrEnum):
    """Where a job stands, as clients see it."""

    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_terminal(self) -> bool:
        """Whether nothing more happens to a job in this state."""
        return self in (JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED)


class Stage(StrEnum):
    """Which part of the work a job is in."""

    FETCH = "fetch"  # the recording is not here yet, or has not been looked into
    PREPARE = "prepare"
    TRANSCRIBE = "transcribe"  # and, where it was asked for, diarization beside it
    DIARIZE = "diarize"  # diarization alone: all is transcribed
    MERGE = "merge"
    DONE = "done"


class ChunkStatus(StrEnum):
    """Where a chunk stands."""

    PENDING = "pending"
    DONE = "done"
    FAILED = "failed"  # the engine fails on it again and again: a gap in the transcript


class DiarizationState(StrEnum):
    """Where finding the speakers stands."""

    PENDING = "pending"
    DONE = "done"
    FAILED = "failed"


class UnitKind(StrEnum):
    """What is to be done in a unit of work."""

    FETCH = "fetch"
    PREPARE = "prepare"
    TRANSCRIBE = "transcribe"
    DIARIZE = "diarize"
    MERGE = "merge"


class UnitState(StrEnum):
    """Where a unit of work stands; one that is done is removed."""

    OPEN = "open"
    RUNNING = "running"


class SpeakerCounts(_Document):
    """What is known about the number of speakers; None is nothing."""

    num_speakers: int | None = None
    min_speakers: int | None = None
    max_speakers: int | None = None

    @property
    def counts(self) -> dict[str, int | None]:
        """These three alone, by name."""
        return {name: getattr(self, name) for name in SpeakerCounts.model_fields}


class JobOptions(SpeakerCounts):
    """What the client asked for; never changes after the upload.

    Attributes:
        known_speakers: Names of the people to look for, whose clips are stored with the job.
        known_speaker_digests: SHA-256 of each of these clips, as they were sent.
        (The others are those of `services.upload_service.RequestedOptions`.)
    """

    language: str = "auto"
    model: str
    task: Literal["transcribe", "translate"] = "transcribe"
    prompt: str | None = None
    temperature: float = 0.0
    word_timestamps: bool = True
    chunking: Literal["silence", "fixed"] = "silence"
    diarize: bool = False
    known_speakers: list[str] = []
    known_speaker_digests: list[str] = []


class Source(_Document):
    """The recording.

    One that the server fetches by itself (`Stage.FETCH`) has no size, hash and format before that,
    and `url` says from where. A URL may hold secrets: it is neither logged nor shown.
    """

    object: str
    file_name: str
    size_bytes: int = 0
    sha256: str = ""
    url: str | None = None
    format: str = ""
    codec: str = ""
    duration: float | None = None

    @property
    def is_here(self) -> bool:
        """Whether the recording is stored and has been looked into."""
        return bool(self.sha256)


class Progress(_Document):
    """How far the transcription is, in chunks."""

    chunks_done: int = 0
    chunks_total: int = 0


class DiarizationModel(SpeakerCounts):
    """Finding out who speaks when: what was asked last, and how far it is.

    `revision` counts how often it was asked; what arrives late for an earlier one is dropped.
    `threshold` is how alike a voice had to be to a known one; None where none were looked for.
    """

    revision: int = 1
    state: DiarizationState = DiarizationState.PENDING
    progress: float = 0.0
    object: str | None = None
    model: str | None = None
    threshold: float | None = None
    warning: str | None = None


class SpeakerModel(_Document):
    """A speaker of a finished transcript."""

    id: str
    label: str
    speech_seconds: float
    known: bool | None = None
    similarity: float | None = None


class Result(_Document):
    """Where the transcript is, and what it holds."""

    object: str
    language: str
    duration: float
    segments: int
    words: int
    speakers: list[SpeakerModel] = []
    gaps: int = 0


class JobError(_Document):
    """Why a job failed, for a person."""

    code: str
    message: str
    retryable: bool


class JobCreate(_Document):
    """What is known of a job when it is accepted.

    Attributes:
        keep_hours: Counts from its end.
        webhook_id: Which endpoint is told of its end.
    """

    id: str
    owner: str
    options: JobOptions
    source: Source
    keep_hours: float | None = None
    webhook_id: str | None = None


class JobModel(JobCreate):
    """A job: one recording on its way to a transcript.

    `attempt` counts how often it was begun: once, and again each time somebody asked to retry it.
    `follow_up` says that it has ended, and that its transcript is still to be indexed and its
    webhook to be called; `follow_up_attempts`, how often that was begun; `follow_up_at`, when it
    may be begun again. `indexed` is the version of the transcript that can be searched.
    """

    attempt: int = 1
    status: JobStatus = JobStatus.PENDING
    stage: Stage = Stage.PREPARE
    progress: Progress = Field(default_factory=Progress)
    duration: float | None = None
    diarization: DiarizationModel | None = None
    speaker_names: dict[str, str] = {}
    result: Result | None = None
    warnings: list[str] = []
    error: JobError | None = None
    timings: dict[str, float] = {}
    created_at: Moment = Field(default_factory=utc_now)
    updated_at: Moment = Field(default_factory=utc_now)
    started_at: Moment | None = None
    transcribing_since: Moment | None = None
    finished_at: Moment | None = None
    expires_at: Moment | None = None
    reused_from: str | None = None
    follow_up: bool = False
    follow_up_attempts: int = 0
    follow_up_at: Moment = EPOCH
    indexed: str | None = None

    @property
    def all_warnings(self) -> list[str]:
        """What a reader of the transcript should know, what became of diarization included."""
        notes = list(self.warnings)
        if self.diarization and self.diarization.warning:
            notes.append(self.diarization.warning)
        if self.result and self.result.gaps:
            notes.append(
                f"{self.result.gaps} stretches of the recording could not be transcribed. "
                "The transcript marks them; `retry` tries them again."
            )
        return notes


class JobUpdate(_Document):
    """Changes to a job; fields left out stay as they are."""

    attempt: int | None = None
    stage: Stage | None = None
    progress: Progress | None = None
    duration: float | None = None
    diarization: DiarizationModel | None = None
    speaker_names: dict[str, str] | None = None
    result: Result | None = None
    warnings: list[str] | None = None
    error: JobError | None = None
    timings: dict[str, float] | None = None
    started_at: Moment | None = None
    transcribing_since: Moment | None = None
    finished_at: Moment | None = None
    expires_at: Moment | None = None
    source: Source | None = None
    follow_up: bool | None = None
    follow_up_attempts: int | None = None
    follow_up_at: Moment | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the fields that were set; `timings` as single keys, so that stages add theirs."""
        # Not `exclude_unset`: within the values too, it would leave defaults out of the database.
        changes = plain(self.model_dump(mode="python", include=self.model_fields_set))
        for stage, seconds in (changes.pop("timings", None) or {}).items():
            changes[f"timings.{stage}"] = seconds
        return dict(changes)


class ChunkResult(_Document):
    """What was heard in a chunk."""

    language: str | None = None
    language_confidence: float | None = None
    segments: list[dict[str, Any]] = []
    covered_seconds: float = 0.0
    speech_seconds: float = 0.0


class ChunkModel(ChunkResult):
    """A stretch of a recording, transcribed as one.

    `[start, end)` without `skips` is the audio that the engine hears; `[core_start, core_end)` the
    stretch whose words count. The cores of a job's chunks tile the recording. `holder` is the unit
    claim that may commit its result.
    """

    id: str
    job_id: str
    index: int
    start: float
    end: float
    core_start: float
    core_end: float
    has_speech: bool
    skips: list[tuple[float, float]] = []
    status: ChunkStatus = ChunkStatus.PENDING
    holder: str | None = None
    error: JobError | None = None

    @staticmethod
    def make_id(job_id: str, index: int) -> str:
        """Return the id of a job's chunk."""
        return f"{job_id}:{index}"


class UnitCreate(_Document):
    """A piece of a job's work that one consumer does at a time.

    Attributes:
        id: Derived from what is to be done, so that adding it twice adds it once.
        job_id: Whose.
        kind: What is to be done.
        queue: Which consumers may do it.
        chunks: Of a transcription: the indexes of its chunks.
        revision: Of a diarization or merge: which one.
        cost_seconds: Audio to go through, for the order of waiting units.
        timeout_seconds: Time after which it is hung.
        failures: Attempts that failed before it was made of another unit.
    """

    id: str
    job_id: str
    kind: UnitKind
    queue: str
    chunks: list[int] = []
    revision: int = 0
    cost_seconds: float = 0.0
    timeout_seconds: float
    failures: int = 0


class UnitModel(UnitCreate):
    """A unit of work that waits or is being done.

    Attributes:
        rank: Place in the order of its queue; lower comes first.
        state: Whether it can be claimed.
        holder: Token of the claim that is being worked under (the fence); None while open.
        attempt: How often it was claimed.
        failures: How often it failed with an error.
        crashes: How often its holder vanished.
        not_before: While open: not to be claimed earlier.
        lease_until: While running: after this the holder counts as gone.
        last_error: Why the last attempt failed.
    """

    rank: int = 0
    state: UnitState = UnitState.OPEN
    holder: str | None = None
    attempt: int = 0
    crashes: int = 0
    not_before: Moment = EPOCH
    lease_until: Moment = EPOCH
    last_error: JobError | None = None


class UploadKey(_Document):
    """An Idempotency-Key that a client sent with an upload.

    `job_id` is chosen before the job is made: whether the upload succeeded is whether there is
    such a job. Until then, the key belongs to `holder` for as long as `lease_until` says.
    """

    id: str
    fingerprint: str
    job_id: str
    holder: str
    lease_until: Moment
    expires_at: Moment
