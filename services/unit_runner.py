"""Doing one unit of work: claimed, kept while it is worked on, and settled however it ends."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

from core.errors import DatabaseUnavailable
from core.logger import bound, logger
from repositories.models import UnitKind, UnitModel
from repositories.unit_repository import UnitRepository
from services.dispatcher import SERVED, Dispatcher
from services.failure_service import FailureService
from worker.errors import EngineFailed

# How long a vanished consumer's unit stays taken.
LEASE_SECONDS = 12.0
# How often the lease is renewed. This is also how soon a cancelled job's engine is stopped.
_RENEW_SECONDS = 1.0
# After SIGTERM, a unit that is not done by then is given back; its finished chunks are kept.
_GRACE_SECONDS = 15.0

# How often long recordings come before short ones, so that many of these do not stop those.
_LONG_FIRST_SHARE = 0.25

Stages = Mapping[UnitKind, Callable[[UnitModel], Awaitable[None]]]


class UnitRunner:
    """Runs units in a work-horse process.

    Args:
        units: The work there is.
        failures: What failures mean.
        dispatcher: Wakes others for what is given back.
        stages: What to do for each kind of unit. A stage can be run twice, and can be cancelled.
    """

    def __init__(
        self,
        units: UnitRepository,
        failures: FailureService,
        dispatcher: Dispatcher,
        stages: Stages,
    ) -> None:
        self._units = units
        self._failures = failures
        self._dispatcher = dispatcher
        self._stages = stages
        self._is_stopping = False
        self._work: asyncio.Future[None] | None = None

    async def run_next(self, queue: str) -> bool:
        """Do the first unit that consumers of a queue can do; False if there was none.

        Raises:
            DatabaseUnavailable: MongoDB was away for longer than our patience (retryable).
        """
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._stop)
        queues = SERVED[queue]
        if random.random() < _LONG_FIRST_SHARE:  # noqa: S311 - shares work # nosec B311
            queues = queues[::-1]
        unit = await self._units.claim(queues, LEASE_SECONDS)
        if unit is None:
            return False
        with bound(job_id=unit.job_id, unit=unit.kind.value, attempt=unit.attempt):
            if self._is_stopping:
                await self._give_back(unit)
            else:
                await self._run(unit)
        return True

    async def _run(self, unit: UnitModel) -> None:
        self._work = asyncio.ensure_future(self._do(unit))
        keeper = asyncio.create_task(self._keep(unit, self._work))
        try:
            await self._work
            await self._units.finish(unit)
        except asyncio.CancelledError:
            if not (self._is_stopping and await self._give_back(unit)):
                logger.warning("stopped: the work was cancelled, or another has it")
        except DatabaseUnavailable:
            raise  # the lease ends by itself, and no attempt is counted
        except Exception as error:  # noqa: BLE001 - whatever it is, it must be settled
            logger.opt(exception=True).debug("the attempt failed")
            # Not where another has it by now: what we ran into may be that one's doing.
            if await self._units.renew(unit, LEASE_SECONDS):
                await self._failures.settle(unit, error)
        finally:
            keeper.cancel()

    async def _give_back(self, unit: UnitModel) -> bool:
        if not await self._units.release(unit):
            return False
        logger.info("given back, for this consumer is being stopped")
        await self._dispatcher.wake([unit])
        return True

    async def _do(self, unit: UnitModel) -> None:
        if self._failures.is_worn_out(unit):
            raise EngineFailed(
                f"{unit.crashes} consumers died while they worked on it.", code="consumer_killed"
            )
        limit = asyncio.timeout(unit.timeout_seconds)
        try:
            async with limit:
                await self._stages[unit.kind](unit)
        except TimeoutError as error:
            if not limit.expired():
                raise
            seconds = f"{unit.timeout_seconds:.0f}"
            raise EngineFailed(
                f"It was not done after {seconds} s and was stopped.", code="engine_timeout"
            ) from error

    async def _keep(self, unit: UnitModel, work: asyncio.Future[None]) -> None:
        """Renew the lease; stop the work once it is not ours any more."""
        while True:
            await asyncio.sleep(_RENEW_SECONDS)
            with suppress(DatabaseUnavailable):
                if not await self._units.renew(unit, LEASE_SECONDS):
                    work.cancel()
                    return

    def _stop(self) -> None:
        """Let the work finish if it is about to, or give it back."""
        self._is_stopping = True
        if self._work is not None:
            asyncio.get_running_loop().call_later(_GRACE_SECONDS, self._work.cancel)
