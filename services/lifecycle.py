"""Which states a job may pass through, and where its files are stored. Pure."""

from __future__ import annotations

from repositories.models import JobStatus

# From each state to those that may follow it; states without followers are terminal.
TRANSITIONS: dict[JobStatus, frozenset[JobStatus]] = {
    JobStatus.PENDING: frozenset({JobStatus.PROCESSING, JobStatus.FAILED, JobStatus.CANCELLED}),
    JobStatus.PROCESSING: frozenset({JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED}),
    JobStatus.COMPLETED: frozenset(),
    JobStatus.FAILED: frozenset(),
    JobStatus.CANCELLED: frozenset(),
}


def may_become(status: JobStatus) -> frozenset[JobStatus]:
    """Return the states from which a job may move to `status`."""
    return frozenset(start for start, follow in TRANSITIONS.items() if status in follow)


def source_key(job_id: str) -> str:
    """Return where a job's upload is stored. Never derived from the client's file name."""
    return f"{job_prefix(job_id)}source"


def audio_key(job_id: str) -> str:
    """Return where a job's normalised WAV is stored while it is worked on."""
    return f"{job_prefix(job_id)}audio.wav"


def transcript_key(job_id: str, version: str) -> str:
    """Return where a version of a job's transcript is stored; versions are never overwritten."""
    return f"{job_prefix(job_id)}transcript-{version}.json"


def job_prefix(job_id: str) -> str:
    """Return the prefix of everything stored for a job."""
    return f"jobs/{job_id}/"
