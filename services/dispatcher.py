"""Putting the stages of jobs on the queue: names, time-outs, batches, and pauses before retries."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any

from core.config import Settings
from core.messaging import DIARIZATION_QUEUE, SPEECH_QUEUE, RedisQueueManager
from repositories.models import Stage
from services.engines import CHUNK_TIMEOUT_SECONDS

HANDLERS = "internal.consumer.handlers.stages"

# Decoding takes far less than a recording lasts; the rest is moving files.
_FILE_TIMEOUT_SECONDS = 900.0
# The largest public pipelines take up to 1.7 times the recording's duration on a processor.
_DIARIZATION_TIMEOUT_FACTOR = 4.0
# Backoff before another attempt: 2 s, 4 s, 8 s … up to a minute, each spread by half.
_FIRST_BACKOFF_SECONDS = 2.0
_LONGEST_BACKOFF_SECONDS = 60.0


class Dispatcher:
    """Queues units of work. Asking for the same attempt twice queues it once."""

    def __init__(self, settings: Settings, queue: RedisQueueManager) -> None:
        self._settings = settings
        self._queue = queue

    async def dispatch(
        self,
        job_id: str,
        stage: Stage,
        unit: Sequence[int] = (),
        *,
        attempt: int = 1,
        delay_seconds: float = 0,
    ) -> None:
        """Queue one attempt at a stage of a job.

        Args:
            job_id: The job.
            stage: Which handler.
            unit: What of it: the indexes of a batch's chunks, or the revision of the diarization
                that is made or merged.
            attempt: From 1.
            delay_seconds: Not before.
        """
        arguments: list[Any] = [job_id, attempt]
        if unit:
            arguments.append(list(unit))
        await self._queue.enqueue_job(
            DIARIZATION_QUEUE if stage is Stage.DIARIZE else SPEECH_QUEUE,
            f"{HANDLERS}.{stage.value}",
            *arguments,
            job_id=f"{job_id}-{stage.value}-{unit[0] if unit else 0}-{attempt}",
            timeout_seconds=self._timeout(stage, len(unit)),
            delay_seconds=delay_seconds,
        )

    async def dispatch_batches(self, job_id: str, chunks: Sequence[int]) -> None:
        """Queue chunks for transcription, in batches spread over the consumers there are."""
        consumers = max(1, await self._queue.count_workers(SPEECH_QUEUE))
        share = math.ceil(len(chunks) / consumers)
        size = max(1, min(share, self._settings.transcribe_batch_chunks))
        for at in range(0, len(chunks), size):
            await self.dispatch(job_id, Stage.TRANSCRIBE, chunks[at : at + size])

    async def has_diarizer(self) -> bool:
        """Return whether any consumer listens to the queue of diarization."""
        return await self._queue.count_workers(DIARIZATION_QUEUE) > 0

    async def dispatch_retry(
        self, job_id: str, stage: Stage, unit: Sequence[int], *, after_attempt: int
    ) -> bool:
        """Queue another attempt after a pause; False if there have been enough."""
        if after_attempt >= self._settings.job_max_attempts:
            return False
        pause = min(_FIRST_BACKOFF_SECONDS * 2 ** (after_attempt - 1), _LONGEST_BACKOFF_SECONDS)
        pause *= random.uniform(0.5, 1.5)  # noqa: S311 - spreads load, guards nothing
        await self.dispatch(job_id, stage, unit, attempt=after_attempt + 1, delay_seconds=pause)
        return True

    def _timeout(self, stage: Stage, chunks: int) -> float:
        longest = self._settings.max_duration_seconds
        if stage is Stage.PREPARE:
            return _FILE_TIMEOUT_SECONDS + longest
        if stage is Stage.DIARIZE:
            return _FILE_TIMEOUT_SECONDS + _DIARIZATION_TIMEOUT_FACTOR * longest
        return _FILE_TIMEOUT_SECONDS + CHUNK_TIMEOUT_SECONDS * chunks
