"""The consumer: an RQ worker with its intervals set, whose work-horse dies with it."""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import redis.exceptions
from rq import Queue, Worker, worker_registration
from rq.job import Job
from rq.serializers import JSONSerializer

from core.config import Settings
from core.errors import Misconfigured
from core.logger import logger
from core.messaging import DIARIZATION_QUEUE, connect_redis, translate_redis_error
from internal.consumer.diarizer import keep_diarizer
from internal.consumer.reconciler import ReconcilerProcess
from services.dispatcher import HANDLER
from worker.diarizer_process import DiarizerProcess
from worker.process import die_with_parent

if TYPE_CHECKING:
    from redis.client import Pipeline

# RQ's defaults take minutes to notice anything (docs/decisions/0003).
_WORKER_TTL_SECONDS = 30
_MONITORING_SECONDS = 5
_MAINTENANCE_SECONDS = 15
_RECONNECT_SECONDS = 2.0


class StageWorker(Worker):
    """Runs each call in a forked work-horse that the kernel kills when the worker dies.

    While Redis is away, a call that runs goes on: what it does is recorded in MongoDB.
    """

    # Between attempts to reach Redis; RQ's own would let a minute pass after it is back.
    max_connection_wait_time = 4.0
    diarizer: DiarizerProcess | None = None
    reconciler: ReconcilerProcess | None = None

    def main_work_horse(self, job: Job, queue: Queue) -> None:
        """In the fork: tie our life to the parent's, then work."""
        die_with_parent()
        super().main_work_horse(job, queue)

    def execute_job(self, job: Job, queue: Queue) -> None:
        """Run a call; the diarizer, where we keep one, is there before it and free after it."""
        self._see_to_children()
        super().execute_job(job, queue)
        if self.diarizer is not None:
            self.diarizer.settle()

    def handle_warm_shutdown_request(self) -> None:
        """On SIGTERM: the work-horse is told as well, and finishes or gives back what it does."""
        if self.horse_pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.horse_pid, signal.SIGTERM)

    def heartbeat(self, timeout: int | None = None, pipeline: Pipeline | None = None) -> None:
        """Say that we live; also that we are there at all, should Redis have been emptied."""
        self._see_to_children()
        with _redis_may_be_away():
            super().heartbeat(timeout, pipeline=pipeline)
            worker_registration.register(self, pipeline=pipeline)

    def maintain_heartbeats(self, job: Job) -> None:
        """While a call runs: say that we live."""
        with _redis_may_be_away():
            super().maintain_heartbeats(job)

    def set_current_job_working_time(
        self, current_job_working_time: float, pipeline: Pipeline | None = None
    ) -> None:
        """While a call runs: note for how long."""
        with _redis_may_be_away():
            super().set_current_job_working_time(current_job_working_time, pipeline)

    def set_shutdown_requested_date(self) -> None:
        """On SIGTERM: note when it came."""
        with _redis_may_be_away():
            super().set_shutdown_requested_date()  # type: ignore[no-untyped-call]

    def _see_to_children(self) -> None:
        if self.is_horse:  # which RQ has send heartbeats, too
            return
        if self.reconciler is not None:
            self.reconciler.ensure_running()
        if self.diarizer is not None:
            self.diarizer.ensure_running()


@contextlib.contextmanager
def _redis_may_be_away() -> Iterator[None]:
    try:
        yield
    except (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError) as error:
        logger.warning("Redis cannot be told that we live: {}", type(error).__name__)


def run_consumer(settings: Settings, queue: str) -> None:
    """Serve one queue until SIGTERM or SIGINT, which let the current call finish.

    One queue, because RQ can lose a call that it takes from one of several in a crash.

    Raises:
        Misconfigured: Redis refuses the login.
    """
    # Loaded before any fork: a work-horse would need a third of a second for it, every time.
    importlib.import_module(HANDLER.rpartition(".")[0])
    logger.info("consumer of queue {!r} starts", queue)
    diarizer = keep_diarizer(settings) if queue == DIARIZATION_QUEUE else None
    reconciler = ReconcilerProcess(settings)
    try:
        reconciler.ensure_running()
        _serve(settings, queue, diarizer, reconciler)
    finally:
        reconciler.close()
        if diarizer is not None:
            diarizer.close()


def _serve(
    settings: Settings,
    queue: str,
    diarizer: DiarizerProcess | None,
    reconciler: ReconcilerProcess,
) -> None:
    while True:
        worker = _make_worker(settings, queue)
        worker.diarizer, worker.reconciler = diarizer, reconciler
        try:
            worker.work(logging_level="INFO")
        except redis.exceptions.RedisError as error:
            failure = translate_redis_error(error)
            if isinstance(failure, Misconfigured):
                raise failure from error
            logger.warning("Redis cannot be reached; trying again in {} s", _RECONNECT_SECONDS)
            time.sleep(_RECONNECT_SECONDS)
        else:
            return


def _make_worker(settings: Settings, queue: str) -> StageWorker:
    options: dict[str, Any] = {
        "serializer": JSONSerializer,
        "worker_ttl": _WORKER_TTL_SECONDS,
        "job_monitoring_interval": _MONITORING_SECONDS,
        "maintenance_interval": _MAINTENANCE_SECONDS,
    }
    connection = connect_redis(settings, timeout_seconds=None)
    queues = [Queue(queue, connection=connection, serializer=JSONSerializer)]
    return StageWorker(queues, connection=connection, **options)
