"""Which states a job may pass through, and where its files are stored. Pure."""

from __future__ import annotations

from repositories.models import JobStatus

# From each state to those that may follow it; states without followers are terminal. (One way
# back: a completed job is processed again when its speakers are asked for again, and only then.)
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


def diarization_key(job_id: str, revision: int, version: str) -> str:
    """Return where the speaker turns of a job are stored until they are merged."""
    return f"{job_prefix(job_id)}diarization-{revision}-{version}.json"


def transcript_key(job_id: str, version: str) -> str:
    """Return where a version of a job's transcript is stored; versions are never overwritten."""
    return f"{job_prefix(job_id)}transcript-{version}.json"


def job_prefix(job_id: str) -> str:
    """Return the prefix of everything stored for a job."""
    return f"jobs/{job_id}/"
