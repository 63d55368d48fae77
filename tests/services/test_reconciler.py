"""The reconciler's loops run side by side: what fails or hangs in one does not hold up another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from internal.consumer.reconciler import _reconcile_forever
from repositories.models import JobStatus, Stage
from services.delivery_service import DeliveryService
from services.follow_up_service import FollowUpService
from services.upkeep_service import UpkeepService
from tests.services.support import THE_PAST, stored, unit_ids


async def hang(*_) -> None:
    await asyncio.Event().wait()


async def fail(*_) -> None:
    raise ValueError("a mistake in the program")


@asynccontextmanager
async def reconciling(parts) -> AsyncIterator[None]:
    """Run a reconciler that does not wait long between its rounds."""
    quick = {"reconcile_seconds": 0.02, "sweep_seconds": 0.01}
    task = asyncio.create_task(_reconcile_forever(parts.settings.model_copy(update=quick)))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def wait_until(holds: Callable) -> None:
    async with asyncio.timeout(10):
        while not await holds():
            await asyncio.sleep(0.02)


async def test_what_follows_jobs_does_not_hold_up_the_jobs(parts, monkeypatch):
    monkeypatch.setattr(FollowUpService, "run", fail)
    monkeypatch.setattr(DeliveryService, "begin", hang)
    async with reconciling(parts):
        for job_id in ("1", "2"):  # again and again
            await stored(
                parts, job_id, status=JobStatus.PENDING, stage=Stage.PREPARE, updated_at=THE_PAST
            )

            async def is_resumed(job_id: str = job_id) -> bool:
                return await unit_ids(parts, job_id) == ["prepare"]

            await wait_until(is_resumed)


async def test_jobs_that_cannot_be_seen_to_do_not_hold_up_what_follows(parts, monkeypatch):
    monkeypatch.setattr(UpkeepService, "sweep", fail)
    await stored(parts, status=JobStatus.FAILED, finished_at=THE_PAST, follow_up=True)
    async with reconciling(parts):

        async def is_followed_up() -> bool:
            return not (await parts.jobs.get_job("job-1")).follow_up

        await wait_until(is_followed_up)
