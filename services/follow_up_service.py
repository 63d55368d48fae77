"""What is still to be done when a job has ended: its webhook, and its place in the search.

Neither may keep a job from ending. So they are done afterwards, as often as it takes: each can be
done twice, and leaves the same.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from core.errors import TransientError
from core.logger import bound, logger
from repositories.follow_up_repository import FollowUpRepository
from repositories.models import JobModel

FollowUp = Callable[[JobModel], Awaitable[None]]

# After this time without an end, whoever was at it has vanished.
_LEASE_SECONDS = 60.0
_PAUSE_SECONDS = 5.0
# At one end of a job. Those that failed because a server was away do not count.
_MOST_ATTEMPTS = 5


class FollowUpService:
    """Does what follows the end of jobs; safe in many processes at once.

    Args:
        jobs: Which have ended.
        follow_ups: What is done for each, independently. All are done again if one fails.
    """

    def __init__(self, jobs: FollowUpRepository, follow_ups: Sequence[FollowUp]) -> None:
        self._jobs = jobs
        self._follow_ups = follow_ups

    async def run(self) -> None:
        """Follow up every job that has ended and that nobody is at.

        Raises:
            DatabaseUnavailable: MongoDB cannot be reached (retryable).
        """
        while job := await self._jobs.claim(_LEASE_SECONDS):
            with bound(job_id=job.id):
                await self._follow_up(job)

    async def _follow_up(self, job: JobModel) -> None:
        if job.follow_up_attempts > _MOST_ATTEMPTS:
            logger.error("what follows the end of a job is given up: it failed too often")
            await self._jobs.finish(job)
            return
        failures = [error for each in self._follow_ups if (error := await _failure_of(each, job))]
        if not failures:
            await self._jobs.finish(job)
            return
        counts = any(not isinstance(error, TransientError) for error in failures)
        await self._jobs.postpone(job, _PAUSE_SECONDS, counts=counts)


async def _failure_of(follow_up: FollowUp, job: JobModel) -> Exception | None:
    try:
        await follow_up(job)
    except TransientError as error:
        logger.warning("what follows the end of a job is done later: {}", error.message)
        return error
    except Exception as error:  # noqa: BLE001 - of one job; the others are not to suffer
        logger.opt(exception=True).error("what follows the end of a job failed")
        return error
    return None
