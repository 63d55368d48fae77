"""The one function that the queues name: do the next unit of work, in a work-horse process.

A message says no more than that there is something to do. What that is, and whether it still is,
MongoDB knows; so a message that is lost, late or doubled does no harm.
"""

from __future__ import annotations

import asyncio

from core.config import load_settings
from core.logger import bound
from internal.consumer.diarizer import diarizer_client
from internal.container import Container, open_container
from repositories.models import UnitKind
from services.unit_runner import Stages, UnitRunner

# With work in hand, MongoDB is waited for as long as an operator may need to restart it.
_PATIENCE_SECONDS = 600.0


def work(queue: str) -> None:
    """Do the first unit that consumers of this queue can do, if there is one."""
    # Not asyncio.run, which would wait for threads that copy what nobody wants any more: the
    # work-horse ends after this, and they with it.
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    with bound(queue=queue):
        loop.run_until_complete(_work(queue))


async def _work(queue: str) -> None:
    async with open_container(load_settings(), patience_seconds=_PATIENCE_SECONDS) as parts:
        await parts.synchronise_clock()
        runner = UnitRunner(parts.units, parts.failures, parts.dispatcher, _stages(parts))
        await runner.run_next(queue)


def _stages(parts: Container) -> Stages:
    return {
        UnitKind.FETCH: parts.fetching.fetch,
        UnitKind.PREPARE: parts.pipeline.prepare,
        UnitKind.TRANSCRIBE: parts.pipeline.transcribe,
        UnitKind.DIARIZE: lambda unit: parts.diarization.diarize(unit, diarizer_client()),
        UnitKind.MERGE: parts.merging.merge,
    }
