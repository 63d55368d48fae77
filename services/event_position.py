"""Where in a task's events a client is: what the id of an event says, and how it is read back."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Self

from core.errors import InvalidInput
from repositories.models import DiarizationState, JobModel

DELETED = "deleted"
# Enough of a job's random id to notice one of another task.
_TAG_LENGTH = 8
_ID = re.compile(
    r"(?P<tag>[0-9A-Za-z_-]{1,8})"
    r"\.(?P<attempt>[0-9]{1,9})"
    r"\.(?P<segments>[0-9]{1,9})"
    r"\.(?P<firm>[0-9]{1,9})"
    r"\.(?P<state>[0-9a-z-]{0,80})"
)


@dataclass(frozen=True)
class Position:
    """What has been sent of a task's events.

    Attributes:
        attempt: Of which attempt; 0 before the first event.
        state: What was last said of the task, by `state_of`; empty before anything was.
        segments: How many segments have been sent.
        firm: How many of them another attempt cannot change: those before the first gap.
    """

    attempt: int = 0
    state: str = ""
    segments: int = 0
    firm: int = 0

    @classmethod
    def parse(cls, event_id: str, job_id: str) -> Self:
        """Return the position after an event.

        Raises:
            InvalidInput: It is not the id of an event of this task (code `invalid_event_id`).
        """
        found = _ID.fullmatch(event_id)
        if found is None or found["tag"] != _tag(job_id):
            raise InvalidInput(
                "Last-Event-ID is not the id of an event of this task. Send one exactly as it "
                "came, or none to get all events.",
                code="invalid_event_id",
            )
        return cls(
            int(found["attempt"]), found["state"], int(found["segments"]), int(found["firm"])
        )

    def event_id(self, job_id: str) -> str:
        """Return the id of the event after which this is the position."""
        return f"{_tag(job_id)}.{self.attempt}.{self.segments}.{self.firm}.{self.state}"

    def in_attempt(self, attempt: int) -> Self:
        """Return where the events of an attempt go on; what it may change is sent anew."""
        if attempt == self.attempt:
            return self
        return replace(self, attempt=attempt, state="", segments=self.firm)


def state_of(job: JobModel) -> str:
    """Return what a status says of a job, short; a status is sent whenever this has changed.

    Of a job that has ended, nothing that may still arrive late.
    """
    found = job.diarization
    state = f"{found.revision if found else 0}-{job.status.value}"
    if job.status.is_terminal:
        return state
    pending = found is not None and found.state is DiarizationState.PENDING
    diarized = round(1000 * found.progress) if found and pending else 1000
    return f"{state}-{job.stage.value}-{job.progress.chunks_done}-{diarized}"


def _tag(job_id: str) -> str:
    return job_id[:_TAG_LENGTH]
