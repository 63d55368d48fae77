"""The consumer: an RQ worker with its intervals set, whose work-horse dies with it."""

from __future__ import annotations

import importlib
import time
from typing import Any

import redis.exceptions
from rq import Queue, Worker
from rq.job import Job
from rq.serializers import JSONSerializer

from core.config import Settings
from core.errors import Misconfigured
from core.logger import logger
from core.messaging import DIARIZATION_QUEUE, connect_redis, translate_redis_error
from internal.consumer.diarizer import keep_diarizer
from services.dispatcher import HANDLERS
from worker.diarizer_process import DiarizerProcess
from worker.process import die_with_parent

# RQ notices a dead consumer after its TTL and the next maintenance of another: seconds, not the
# minutes of RQ's defaults (docs/decisions/0003).
_WORKER_TTL_SECONDS = 30
_MONITORING_SECONDS = 5
_MAINTENANCE_SECONDS = 15
_RECONNECT_SECONDS = 2.0


class StageWorker(Worker):
    """Runs each call in a forked work-horse that the kernel kills when the worker dies."""

    diarizer: DiarizerProcess | None = None

    def main_work_horse(self, job: Job, queue: Queue) -> None:
        """In the fork: tie our life to the parent's, then work."""
        die_with_parent()
        super().main_work_horse(job, queue)

    def execute_job(self, job: Job, queue: Queue) -> None:
        """Run a call; the diarizer, where we keep one, is there before it and free after it."""
        if self.diarizer is not None:
            self.diarizer.ensure_running()
        super().execute_job(job, queue)
        if self.diarizer is not None:
            self.diarizer.settle()

    def maintain_heartbeats(self, job: Job) -> None:
        """While a call runs: say that we live, and see that the diarizer does."""
        if self.diarizer is not None:
            self.diarizer.ensure_running()
        super().maintain_heartbeats(job)


def run_consumer(settings: Settings, queue: str) -> None:
    """Serve one queue until SIGTERM or SIGINT, which let the current call finish.

    One queue, because RQ can lose a call that it takes from one of several in a crash.

    Raises:
        Misconfigured: Redis refuses the login.
    """
    # Loaded before any fork: a work-horse would need a third of a second for it, every time.
    importlib.import_module(HANDLERS)
    logger.info("consumer of queue {!r} starts", queue)
    diarizer = keep_diarizer(settings) if queue == DIARIZATION_QUEUE else None
    try:
        _serve(settings, queue, diarizer)
    finally:
        if diarizer is not None:
            diarizer.close()


def _serve(settings: Settings, queue: str, diarizer: DiarizerProcess | None) -> None:
    while True:
        worker = _make_worker(settings, queue)
        worker.diarizer = diarizer
        try:
            worker.work(with_scheduler=True, logging_level="INFO")
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
