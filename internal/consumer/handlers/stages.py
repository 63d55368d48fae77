"""One function per stage, called by RQ in a work-horse process with JSON arguments.

A failure is settled here and recorded in MongoDB: another attempt is queued or the job is ended.
RQ itself only ever sees a work-horse that was killed, and runs the call again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from core.config import Settings, load_settings
from core.logger import bound, logger
from internal.container import open_container
from repositories.models import Stage
from services.pipeline_service import PipelineService


def prepare(job_id: str, attempt: int) -> None:
    """Normalise and cut a recording."""
    _run(Stage.PREPARE, job_id, attempt, lambda pipeline: pipeline.prepare(job_id))


def transcribe(job_id: str, attempt: int, chunks: list[int]) -> None:
    """Transcribe a batch of chunks."""
    _run(
        Stage.TRANSCRIBE,
        job_id,
        attempt,
        lambda pipeline: pipeline.transcribe(job_id, chunks),
        chunks,
    )


def merge(job_id: str, attempt: int) -> None:
    """Put the chunks together and complete the job."""
    _run(Stage.MERGE, job_id, attempt, lambda pipeline: pipeline.merge(job_id))


def _run(
    stage: Stage,
    job_id: str,
    attempt: int,
    work: Callable[[PipelineService], Awaitable[None]],
    chunks: Sequence[int] = (),
) -> None:
    settings = load_settings()
    with bound(job_id=job_id, stage=stage.value, attempt=attempt):
        try:
            asyncio.run(_with_pipeline(settings, work))
        except Exception as error:  # noqa: BLE001 - whatever it is, it must be settled
            logger.opt(exception=True).debug("the attempt failed")
            failure = error  # `error` is unbound once this block ends
            asyncio.run(
                _with_pipeline(
                    settings,
                    lambda pipeline: pipeline.after_failure(
                        job_id, stage, attempt, chunks, failure
                    ),
                )
            )


async def _with_pipeline(
    settings: Settings, work: Callable[[PipelineService], Awaitable[None]]
) -> None:
    async with open_container(settings) as container:
        await work(container.pipeline)
