"""The reconciler: a process beside each consumer that sees to what nobody else will.

It runs whether the consumer is busy or not, and in as many copies as there are consumers.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import random
import signal
import time
from collections.abc import Awaitable, Callable
from multiprocessing.process import BaseProcess

from core import clock
from core.config import Settings
from core.errors import AppError
from core.logger import bound, logger
from internal.container import Container, open_container
from services.unit_runner import LEASE_SECONDS
from worker.process import die_with_parent

# How soon an endpoint hears of a task's end, at best.
_FOLLOW_UP_SECONDS = 1.0


class ReconcilerProcess:
    """The consumer's side: starts the process, and again if it ends."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._process: BaseProcess | None = None

    def ensure_running(self) -> None:
        """Start the process if there is none, or it has ended."""
        if self._process is not None:
            if self._process.is_alive():
                return
            logger.warning("the reconciler ended with status {}", self._process.exitcode)
        # A fork: what it needs is loaded already.
        fork = multiprocessing.get_context("fork")
        self._process = fork.Process(target=_main, args=(self._settings,), daemon=True)
        self._process.start()

    def close(self) -> None:
        """End the process."""
        if self._process is not None and self._process.is_alive():
            self._process.terminate()
            self._process.join()


def _main(settings: Settings) -> None:
    die_with_parent()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with bound(part="reconciler"):
        asyncio.run(_reconcile_forever(settings))


async def _reconcile_forever(settings: Settings) -> None:
    async with open_container(settings) as parts:
        well_since: float | None = None

        async def reconcile() -> None:
            nonlocal well_since
            since, well_since = well_since, None
            await _reconcile(parts, since)
            well_since = since or time.monotonic()

        async def follow_up() -> None:
            if clock.is_synchronised():  # leases by a wrong clock would last too long
                await parts.follow_ups.run()

        async def deliver() -> None:
            if clock.is_synchronised():
                await parts.deliveries.begin()

        # Side by side: other people's servers, and what fails there, do not hold up the rest.
        await asyncio.gather(
            _repeat("reconciling", settings.reconcile_seconds, reconcile),
            _repeat("following up", _FOLLOW_UP_SECONDS, follow_up),
            _repeat("sending webhooks", _FOLLOW_UP_SECONDS, deliver),
        )


async def _repeat(name: str, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
    """Do something for ever, with so many seconds between; that it fails is no end of it."""
    while True:
        try:
            await work()
        except AppError as error:
            logger.warning("{} failed: {}", name, error.message)
        except Exception:  # noqa: BLE001 - there is always a next time
            logger.opt(exception=True).error("{} failed", name)
        # Spread, so that many reconcilers do not come at once.
        await asyncio.sleep(seconds * random.uniform(0.8, 1.2))  # noqa: S311 # nosec B311


async def _reconcile(parts: Container, well_since: float | None) -> None:
    await parts.synchronise_clock()
    # While MongoDB was away nobody could renew a lease: first they all get the time to.
    if well_since is not None and time.monotonic() - well_since > LEASE_SECONDS:
        await parts.upkeep.expire_leases()
    await parts.dispatcher.wake_for_waiting()
    await parts.upkeep.sweep_own_files()
    await parts.upkeep.sweep()
