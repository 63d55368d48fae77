"""Making units of work of what is to be done for a job, and waking the consumers for them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from core.clock import utc_now
from core.config import Settings
from core.download import DOWNLOAD_SECONDS
from core.errors import AppError
from core.logger import logger
from core.messaging import DIARIZATION_QUEUE, QUEUES, SHORT_QUEUE, SPEECH_QUEUE, RedisQueueManager
from repositories.models import JobModel, UnitCreate, UnitKind, UnitModel, UnitState
from repositories.unit_repository import UnitRepository
from worker.constants import MAX_CHUNK_SECONDS

HANDLER = "internal.consumer.handlers.units.work"

# Which queues of units a consumer serves, the preferred one first. Short recordings have a queue of
# their own, so that a consumer can be kept free for them while the others decode ten hours.
SERVED: dict[str, tuple[str, ...]] = {
    SPEECH_QUEUE: (SHORT_QUEUE, SPEECH_QUEUE),
    SHORT_QUEUE: (SHORT_QUEUE,),
    DIARIZATION_QUEUE: (DIARIZATION_QUEUE,),
}

# Decoding takes far less than a recording lasts; the rest is moving files.
_FILE_TIMEOUT_SECONDS = 900.0
# The largest public pipelines take up to 1.7 times the recording's duration on a processor.
_DIARIZATION_TIMEOUT_FACTOR = 4.0
# Decoding goes through audio this much faster than transcription does, roughly.
_DECODING_DISCOUNT = 20.0
# How long a recording is that is not here yet, nobody knows: fetching counts as much as this.
_FETCHING_COST_SECONDS = 30.0
# Consumers that find nothing to do are woken again for waiting units at most this often.
_WAKE_AGAIN_SECONDS = 10
_WOKEN_AT_ONCE = 16


class Dispatcher:
    """Adds units of work. Adding the same one twice adds it once.

    Waking is done as well as it can be: while Redis is away the unit waits in MongoDB, and the
    reconciler wakes somebody for it later.

    Every method may raise `DatabaseUnavailable` (retryable).
    """

    def __init__(self, settings: Settings, units: UnitRepository, queue: RedisQueueManager) -> None:
        self._settings = settings
        self._units = units
        self._queue = queue

    async def fetch(self, job: JobModel) -> None:
        """Have a recording brought here, and looked into."""
        unit = UnitCreate(
            id=f"{job.id}-fetch",
            job_id=job.id,
            kind=UnitKind.FETCH,
            # Not the lane of short recordings: a slow server would hold up other people's.
            queue=SPEECH_QUEUE,
            cost_seconds=_FETCHING_COST_SECONDS,
            timeout_seconds=DOWNLOAD_SECONDS + _FILE_TIMEOUT_SECONDS,
        )
        await self._add(job, [unit])

    async def prepare(self, job: JobModel) -> None:
        """Have a recording decoded and cut."""
        seconds = self._seconds_of(job)
        unit = UnitCreate(
            id=f"{job.id}-prepare",
            job_id=job.id,
            kind=UnitKind.PREPARE,
            queue=self._lane(job),
            cost_seconds=seconds / _DECODING_DISCOUNT,
            timeout_seconds=_FILE_TIMEOUT_SECONDS + seconds,
        )
        await self._add(job, [unit])

    async def transcribe(self, job: JobModel, chunks: Sequence[int]) -> None:
        """Have chunks transcribed, in batches spread over the consumers there are."""
        share = math.ceil(len(chunks) / max(1, await self._count_consumers(SPEECH_QUEUE)))
        size = max(1, min(share, self._settings.transcribe_batch_chunks))
        batches = [chunks[at : at + size] for at in range(0, len(chunks), size)]
        await self._add(job, [self.batch(job, batch) for batch in batches])

    def batch(self, job: JobModel, chunks: Sequence[int], *, failures: int = 0) -> UnitCreate:
        """Return the unit that transcribes these chunks."""
        timeout = self._settings.chunk_timeout_seconds
        return UnitCreate(
            id=f"{job.id}-transcribe-{chunks[0]}",
            job_id=job.id,
            kind=UnitKind.TRANSCRIBE,
            queue=self._lane(job),
            chunks=list(chunks),
            cost_seconds=len(chunks) * MAX_CHUNK_SECONDS,
            timeout_seconds=_FILE_TIMEOUT_SECONDS + timeout * len(chunks),
            failures=failures,
        )

    async def diarize(self, job: JobModel) -> None:
        """Have the speakers found."""
        assert job.diarization is not None
        seconds = self._seconds_of(job)
        unit = UnitCreate(
            id=f"{job.id}-diarize-{job.diarization.revision}",
            job_id=job.id,
            kind=UnitKind.DIARIZE,
            queue=DIARIZATION_QUEUE,
            revision=job.diarization.revision,
            cost_seconds=seconds,
            timeout_seconds=_FILE_TIMEOUT_SECONDS + _DIARIZATION_TIMEOUT_FACTOR * seconds,
        )
        await self._add(job, [unit])

    async def merge(self, job: JobModel) -> None:
        """Have words and speakers put together. It costs next to nothing, and comes first."""
        revision = job.diarization.revision if job.diarization else 0
        unit = UnitCreate(
            # Of its own for each, since the last one may be about to be removed.
            id=f"{job.id}-merge-{job.attempt}-{revision}",
            job_id=job.id,
            kind=UnitKind.MERGE,
            queue=self._lane(job),
            timeout_seconds=_FILE_TIMEOUT_SECONDS,
        )
        await self._add(job, [unit])

    async def wake(self, units: Sequence[UnitModel], *, again: bool = False) -> None:
        """Tell consumers that there is something to do; whoever comes takes what is first.

        Args:
            units: One message is sent for each, to every kind of consumer that may do it.
            again: Whether messages may have been sent before, and lost.
        """
        suffix = f"-{int(utc_now().timestamp()) // _WAKE_AGAIN_SECONDS}" if again else ""
        try:
            for queue in QUEUES:
                served = [unit for unit in units if unit.queue in SERVED[queue]]
                # Nobody may serve short recordings apart: messages would pile up unread.
                if queue == SHORT_QUEUE and served and not await self._queue.count_workers(queue):
                    continue
                for unit in served:
                    await self._queue.enqueue_job(
                        queue,
                        HANDLER,
                        queue,
                        job_id=f"{queue}-{unit.id}-{unit.attempt}{suffix}",
                        timeout_seconds=self._longest_timeout(),
                    )
        except AppError as error:
            logger.warning("consumers were not woken, the work waits: {}", error.message)

    async def wake_for_waiting(self) -> None:
        """Wake consumers for units that wait although no message is on its way."""
        for queue in QUEUES:
            try:
                messages = await self._queue.count_queued(queue)
            except AppError as error:
                logger.warning("the queues cannot be looked at: {}", error.message)
                return
            if messages == 0:
                for served in SERVED[queue]:
                    waiting = await self._units.get_claimable(served, _WOKEN_AT_ONCE)
                    await self.wake(waiting, again=True)

    async def has_diarizer(self) -> bool:
        """Return whether any consumer listens to the queue of diarization.

        Raises:
            QueueUnavailable: Redis cannot be reached (retryable).
        """
        return await self._queue.count_workers(DIARIZATION_QUEUE) > 0

    async def _add(self, job: JobModel, units: Sequence[UnitCreate]) -> None:
        added = await self._units.add(job.owner, units)
        await self.wake([unit for unit in added if unit.state is UnitState.OPEN])

    async def _count_consumers(self, queue: str) -> int:
        try:
            return await self._queue.count_workers(queue)
        except AppError:
            return 1

    def _seconds_of(self, job: JobModel) -> float:
        """Return how long a recording is, or the longest that it can be."""
        return job.duration or job.source.duration or self._settings.max_duration_seconds

    def _lane(self, job: JobModel) -> str:
        short = self._seconds_of(job) <= self._settings.short_recording_seconds
        return SHORT_QUEUE if short else SPEECH_QUEUE

    def _longest_timeout(self) -> float:
        """Return when RQ is to stop a call, whatever it does: units have time-outs of their own."""
        longest = self._settings.max_duration_seconds
        chunks = self._settings.transcribe_batch_chunks * self._settings.chunk_timeout_seconds
        return 2 * _FILE_TIMEOUT_SECONDS + max(chunks, _DIARIZATION_TIMEOUT_FACTOR * longest)
