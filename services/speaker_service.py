"""What clients can do about speakers after the transcript: name them, and look for them again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from core.errors import Conflict, InvalidInput
from core.logger import bound, logged_operation
from repositories.models import DiarizationModel, JobModel, JobStatus, JobUpdate, Stage
from repositories.task_repository import TaskRepository
from services.planner import Planner

MOST_SPEAKERS = 50


@dataclass(frozen=True)
class RequestedSpeakers:
    """What a client knows about the number of speakers; None is nothing."""

    num_speakers: int | None = None
    min_speakers: int | None = None
    max_speakers: int | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing is known."""
        return self == RequestedSpeakers()

    def check(self) -> None:
        """Refuse numbers that contradict each other.

        Raises:
            InvalidInput: They do (code `invalid_speakers`).
        """
        least, most = self.min_speakers, self.max_speakers
        if self.num_speakers is not None and (least is not None or most is not None):
            raise InvalidInput(
                "Give either num_speakers, or min_speakers and max_speakers.",
                code="invalid_speakers",
            )
        if least is not None and most is not None and least > most:
            raise InvalidInput(
                f"min_speakers ({least}) is more than max_speakers ({most}).",
                code="invalid_speakers",
            )


class SpeakerService:
    """The use cases behind the routes about speakers.

    Every method may raise `DatabaseUnavailable` (retryable). A task of another owner is a task that
    does not exist.
    """

    def __init__(self, jobs: TaskRepository, planner: Planner) -> None:
        self._jobs = jobs
        self._planner = planner

    async def name_speakers(
        self, owner: str, job_id: str, names: Mapping[str, str | None]
    ) -> JobModel:
        """Give speakers names, which every export then shows; None takes a name away.

        Raises:
            NotFound: There is no such task.
            Conflict: It is not completed (code `not_finished`).
            InvalidInput: It has no such speaker (code `unknown_speaker`).
        """
        job = await self._jobs.require_job(job_id, owner)
        with bound(job_id=job_id), logged_operation("name speakers", speakers=len(names)):
            known = [speaker.id for speaker in job.result.speakers] if job.result else []
            unknown = sorted(set(names) - set(known))
            if job.status is JobStatus.COMPLETED and unknown:
                raise InvalidInput(
                    f"This transcript has no speaker {', '.join(unknown)}. "
                    f"It has: {', '.join(known) or 'none'}.",
                    code="unknown_speaker",
                    speakers=known,
                )
            if not await self._jobs.name_speakers(job_id, names):
                raise _not_finished(job)
        return await self._jobs.require_job(job_id, owner)

    async def rediarize(self, owner: str, job_id: str, asked: RequestedSpeakers) -> JobModel:
        """Look for the speakers of a completed task again; its words stay as they are.

        Until that is done, the transcript that there is can still be fetched.

        Raises:
            NotFound: There is no such task.
            Conflict: It is not completed, or being processed again (code `not_finished`).
            InvalidInput: The numbers contradict each other.
        """
        asked.check()
        job = await self._jobs.require_job(job_id, owner)
        with bound(job_id=job_id), logged_operation("diarize again"):
            revision = job.diarization.revision + 1 if job.diarization else 1
            update = JobUpdate(
                stage=Stage.DIARIZE,
                diarization=DiarizationModel(revision=revision, **asdict(asked)),
                finished_at=None,
                expires_at=None,
            )
            if not await self._jobs.update_status(
                job_id, JobStatus.PROCESSING, allowed_from={JobStatus.COMPLETED}, update=update
            ):
                raise _not_finished(job)
            await self._planner.advance(job_id)
        return await self._jobs.require_job(job_id, owner)


def name_in(transcript: dict[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Return a transcript's JSON values with the names that people gave. Pure."""
    speakers = [
        {**speaker, "label": names.get(speaker["id"], speaker["label"])}
        for speaker in transcript.get("speakers", [])
    ]
    return {**transcript, "speakers": speakers}


def _not_finished(job: JobModel) -> Conflict:
    return Conflict(
        f"The task is {job.status.value}. Its speakers can be changed once it is completed.",
        code="not_finished",
        status=job.status.value,
    )
