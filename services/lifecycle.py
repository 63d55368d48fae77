"""Which states a job may pass through, how it ends, and where its files are stored."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from core.clock import utc_now
from repositories.models import JobModel, JobStatus, JobUpdate
from repositories.task_repository import TaskRepository

JOBS_PREFIX = "jobs/"

# From each state to those that may follow it; states without followers are terminal. (Ways back
# are taken only when somebody asks: to retry a job, or to look for its speakers again.)
TRANSITIONS: dict[JobStatus, frozenset[JobStatus]] = {
    # Straight to completed goes what has a transcript already, and is not worked on after all.
    JobStatus.PENDING: frozenset(
        {JobStatus.PROCESSING, JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED}
    ),
    JobStatus.PROCESSING: frozenset({JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED}),
    JobStatus.COMPLETED: frozenset(),
    JobStatus.FAILED: frozenset(),
    JobStatus.CANCELLED: frozenset(),
}


def may_become(status: JobStatus) -> frozenset[JobStatus]:
    """Return the states from which a job may move to `status`."""
    return frozenset(start for start, follow in TRANSITIONS.items() if status in follow)


def ending(job: JobModel, **changes: Any) -> JobUpdate:
    """Return what is recorded of a job that ends now: when, and until when it is kept."""
    now = utc_now()
    until = None if job.keep_hours is None else now + timedelta(hours=job.keep_hours)
    return JobUpdate(
        finished_at=now,
        expires_at=until,
        follow_up=True,
        follow_up_attempts=0,
        follow_up_at=now,
        **changes,
    )


async def begin(jobs: TaskRepository, job_id: str) -> JobModel | None:
    """Mark a job as being worked on; None if there is nothing to do for it any more.

    Raises:
        DatabaseUnavailable: MongoDB cannot be reached (retryable).
    """
    job = await jobs.get_job(job_id)
    if job is None or job.status.is_terminal:
        return None
    if job.status is JobStatus.PENDING:
        processing, update = JobStatus.PROCESSING, JobUpdate(started_at=utc_now())
        await jobs.update_status(
            job_id, processing, allowed_from=may_become(processing), update=update
        )
    return job


def source_key(job_id: str, version: str = "") -> str:
    """Return where a job's recording is stored. Never derived from the client's file name.

    What is fetched has versions: two consumers that fetch the same do not meet.
    """
    return f"{job_prefix(job_id)}source{f'-{version}' if version else ''}"


def audio_key(job_id: str, attempt: int) -> str:
    """Return where a job's normalised WAV is stored while it is worked on.

    Each attempt has its own, which the end of the one before, coming late, does not take away.
    """
    return f"{job_prefix(job_id)}audio{f'-{attempt}' if attempt > 1 else ''}.wav"


def known_speaker_key(job_id: str, number: int) -> str:
    """Return where the clip of a job's known speaker is stored, by place in `JobOptions`."""
    return f"{job_prefix(job_id)}known-speaker-{number}.wav"


def diarization_key(job_id: str, revision: int, version: str) -> str:
    """Return where the speaker turns of a job are stored until they are merged."""
    return f"{job_prefix(job_id)}diarization-{revision}-{version}.json"


def transcript_key(job_id: str, version: str) -> str:
    """Return where a version of a job's transcript is stored; versions are never overwritten."""
    return f"{job_prefix(job_id)}transcript-{version}.json"


def transcript_version(key: str) -> str:
    """Return which version of a transcript a key names."""
    return key.rpartition("/transcript-")[2].removesuffix(".json")


def job_prefix(job_id: str) -> str:
    """Return the prefix of everything stored for a job."""
    if not job_id:
        raise ValueError("without an id it would be everything stored for every job")
    return f"{JOBS_PREFIX}{job_id}/"


def job_of_key(key: str) -> str:
    """Return whose an object is, by its key."""
    return key.split("/")[1]


def is_complete(keys: list[str]) -> bool:
    """Whether these are what a finished job keeps: what was sent, and at most one transcript."""
    names = [key.rpartition("/")[2] for key in keys]
    sources = [name for name in names if name.startswith("source")]
    made = [name for name in names if not name.startswith(("source", "known-speaker-"))]
    is_one = not made or (len(made) == 1 and made[0].startswith("transcript-"))
    return is_one and len(sources) <= 1
