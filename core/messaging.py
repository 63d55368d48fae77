"""The queues: RQ on Redis, which wakes consumers; MongoDB holds what is to be done.

RQ's defaults are not used (see docs/decisions/0003): JSON instead of pickle, explicit time-outs,
one queue for each kind of consumer. May import `core.config`, `core.errors` and `core.logger`.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from redis import Redis
from redis.backoff import ExponentialBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    ConnectionError,
    NoPermissionError,
    OutOfMemoryError,
    RedisError,
    ResponseError,
    TimeoutError,
)
from redis.retry import Retry as RedisRetry
from rq import Queue, Worker
from rq.exceptions import DuplicateJobError, InvalidJobOperation, NoSuchJobError
from rq.job import Job, JobStatus
from rq.serializers import JSONSerializer

from core.config import Settings, load_settings
from core.errors import AppError, Misconfigured, QueueUnavailable
from core.logger import logged_operation

if TYPE_CHECKING:
    from redis import Redis as RedisType
    from redis.client import Pipeline

T = TypeVar("T")

# Prepare, transcribe and merge: everything that needs a processor and whisper.cpp.
SPEECH_QUEUE = "speech"
# The same, for those who do only that of short recordings.
SHORT_QUEUE = "short"
# Who speaks when: needs torch, and is served best by a GPU.
DIARIZATION_QUEUE = "diarization"
QUEUES = (SPEECH_QUEUE, SHORT_QUEUE, DIARIZATION_QUEUE)

# RQ's own record of a call that failed (its work-horse was killed) is kept this long.
_RECORD_TTL_SECONDS = 600
_ENDED = {JobStatus.FINISHED, JobStatus.FAILED, JobStatus.STOPPED, JobStatus.CANCELED}


@dataclass(frozen=True)
class QueueStats:
    """How many jobs one queue holds in each of RQ's states."""

    queued: int
    started: int
    failed: int
    workers: int


def translate_redis_error(error: Exception) -> AppError | None:
    """Map a redis-py error to ours, most specific first; None for anything else."""
    match error:
        # AuthenticationError is a ConnectionError: it has to come before it.
        case AuthenticationError() | AuthorizationError() | NoPermissionError():
            return Misconfigured("Redis refused the login. Check REDIS_PASSWORD.")
        case BusyLoadingError() | ConnectionError() | TimeoutError():
            return QueueUnavailable("Redis cannot be reached. Try again in a moment.")
        case OutOfMemoryError():
            return QueueUnavailable("Redis is out of memory. Raise its `maxmemory`.")
        case ResponseError() if "WRONGPASS" in str(error) or "NOAUTH" in str(error):
            return Misconfigured("Redis refused the login. Check REDIS_PASSWORD.")
        case RedisError():
            return AppError(f"Redis refused an operation ({type(error).__name__}).")
        case _:
            return None


def connect_redis(settings: Settings, *, timeout_seconds: float | None = 10) -> RedisType:
    """Return a client; nothing is sent yet.

    Args:
        settings: Address and password.
        timeout_seconds: How long one command may take; None for workers, whose waits are long.
    """
    password = settings.redis_password
    return Redis(
        host=settings.redis_host,
        port=settings.redis_port,
        db=settings.redis_db,
        password=password.get_secret_value() if password else None,
        socket_connect_timeout=5,
        socket_timeout=timeout_seconds,
        health_check_interval=30,
        retry=RedisRetry(ExponentialBackoff(cap=1, base=0.05), retries=3),
    )


class RedisQueueManager:
    """Puts work on the queues and looks at them.

    Every method may raise `QueueUnavailable` (retryable) or `Misconfigured`.
    """

    def __init__(self, settings: Settings) -> None:
        self._redis = connect_redis(settings)

    async def enqueue_job(
        self,
        queue: str,
        function: str,
        *args: str | int | list[int],
        job_id: str,
        timeout_seconds: float,
    ) -> None:
        """Queue a call of `function(*args)`; one that is waiting or running already stays as it is.

        Args:
            queue: One of `QUEUES`.
            function: Dotted name, importable by the consumer.
            args: JSON values.
            job_id: Derived from the unit of work, so that asking twice queues once.
            timeout_seconds: After which RQ stops the call.
        """

        def enqueue() -> None:
            target = self._queue(queue)
            self._forget_ended(job_id)
            job = target.create_job(
                function,
                args=args,
                job_id=job_id,
                timeout=math.ceil(timeout_seconds),
                result_ttl=0,
                failure_ttl=_RECORD_TTL_SECONDS,
            )
            with contextlib.suppress(DuplicateJobError):
                target.enqueue_job(job, unique=True)

        await self._run("enqueue", enqueue, queue=queue, rq_job=job_id)

    async def get_job_status(self, job_id: str) -> str | None:
        """Return RQ's state of a call (`queued`, `started`, …), None if Redis does not know it."""

        def status() -> str | None:
            job = self._fetch(job_id)
            return None if job is None else str(job.get_status(refresh=False).value)

        return await self._run("get queue job status", status, rq_job=job_id)

    async def get_queue_stats(self) -> dict[str, QueueStats]:
        """Return the counts of every queue."""

        def stats() -> dict[str, QueueStats]:
            return {name: self._stats(name) for name in QUEUES}

        return await self._run("get queue stats", stats)

    async def count_queued(self, queue: str) -> int:
        """Return how many calls wait on a queue."""
        return await self._run("count queued calls", lambda: self._queue(queue).count)

    async def count_workers(self, queue: str) -> int:
        """Return how many consumers listen to a queue."""
        return await self._run("count workers", lambda: Worker.count(queue=self._queue(queue)))

    async def health_check(self) -> None:
        """Ask the server for a sign of life."""
        await self._run("ping Redis", lambda: self._redis.ping())

    async def close(self) -> None:
        """Close the connections."""
        await self._run("close Redis", lambda: self._redis.close())

    def _queue(self, name: str) -> Queue:
        return Queue(name, connection=self._redis, serializer=JSONSerializer)

    def _fetch(self, job_id: str) -> Job | None:
        try:
            return Job.fetch(job_id, connection=self._redis, serializer=JSONSerializer)
        except NoSuchJobError:
            return None

    def _forget_ended(self, job_id: str) -> None:
        """Drop RQ's record of an ended run: with `unique`, a leftover would block the id."""

        def forget(pipeline: Pipeline) -> None:
            job = self._fetch(job_id)
            pipeline.multi()
            if job is not None and job.get_status(refresh=False) in _ENDED:
                job.delete(pipeline=pipeline)

        # Watched, so that a run which another has queued meanwhile is not dropped with it.
        with contextlib.suppress(InvalidJobOperation):  # another has just dropped it
            self._redis.transaction(forget, Job.key_for(job_id))

    def _stats(self, name: str) -> QueueStats:
        queue = self._queue(name)
        return QueueStats(
            queued=queue.count,
            started=queue.started_job_registry.count,
            failed=queue.failed_job_registry.count,
            workers=Worker.count(queue=queue),
        )

    async def _run(self, name: str, work: Callable[[], T], **fields: Any) -> T:
        with logged_operation(name, translate=translate_redis_error, quiet=True, **fields):
            return await asyncio.to_thread(work)


def get_queue_manager(settings: Settings | None = None) -> RedisQueueManager:
    """Return a queue manager for the given settings, or for this process's own."""
    return RedisQueueManager(settings or load_settings())
