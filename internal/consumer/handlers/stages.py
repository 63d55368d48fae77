"""One function per stage, called by RQ in a work-horse process with JSON arguments.

A failure is settled here and recorded in MongoDB: another attempt is queued or the job is ended.
RQ itself only ever sees a work-horse that was killed, and runs the call again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from core.config import Settings, load_settings
from core.logger import bound, logger
from internal.consumer.diarizer import diarizer_client
from internal.container import Container, open_container
from repositories.models import Stage


def prepare(job_id: str, attempt: int) -> None:
    """Normalise and cut a recording."""
    _run(Stage.PREPARE, job_id, attempt, lambda parts: parts.pipeline.prepare(job_id))


def transcribe(job_id: str, attempt: int, chunks: list[int]) -> None:
    """Transcribe a batch of chunks."""
    _run(
        Stage.TRANSCRIBE,
        job_id,
        attempt,
        lambda parts: parts.pipeline.transcribe(job_id, chunks),
        chunks,
    )


def diarize(job_id: str, attempt: int, revision: list[int]) -> None:
    """Find out who speaks when, with the engine that this consumer keeps."""
    _run(
        Stage.DIARIZE,
        job_id,
        attempt,
        lambda parts: parts.diarization.diarize(job_id, revision[0], diarizer_client()),
        revision,
    )


def merge(job_id: str, attempt: int, revision: Sequence[int] = ()) -> None:
    """Put the chunks, and the speakers if they were asked for, together; complete the job."""
    _run(Stage.MERGE, job_id, attempt, lambda parts: parts.merging.merge(job_id), revision)


def _run(
    stage: Stage,
    job_id: str,
    attempt: int,
    work: Callable[[Container], Awaitable[None]],
    unit: Sequence[int] = (),
) -> None:
    settings = load_settings()
    with bound(job_id=job_id, stage=stage.value, attempt=attempt):
        try:
            asyncio.run(_with_parts(settings, work))
        except Exception as error:  # noqa: BLE001 - whatever it is, it must be settled
            logger.opt(exception=True).debug("the attempt failed")
            failure = error  # `error` is unbound once this block ends
            asyncio.run(
                _with_parts(
                    settings,
                    lambda parts: parts.pipeline.after_failure(
                        job_id, stage, attempt, unit, failure
                    ),
                )
            )


async def _with_parts(settings: Settings, work: Callable[[Container], Awaitable[None]]) -> None:
    async with open_container(settings) as parts:
        await work(parts)
