"""Whether the API is alive, and whether it can do its work."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from fastapi import APIRouter, Response

from core.errors import AppError
from internal.api.dependencies import ContainerDep
from internal.api.schemas import HealthOut

router = APIRouter(prefix="/health", tags=["health"])


@router.get("/live", summary="Is the process alive?")
async def live() -> HealthOut:
    """Answers as long as the process does; asks nobody else."""
    return HealthOut(status="ok")


@router.get(
    "/ready",
    summary="Can it accept work?",
    responses={503: {"model": HealthOut, "description": "A server that it needs is away."}},
)
async def ready(container: ContainerDep, response: Response) -> HealthOut:
    """Asks MongoDB, Redis and the object store for a sign of life.

    Without Redis, recordings are accepted and wait: the status is `degraded` then, and the answer
    200 all the same.
    """
    checks = {
        "database": container.database.health_check(),
        "queue": container.queue.health_check(),
        "storage": container.store.health_check(),
    }
    answers = await asyncio.gather(*(_state(check) for check in checks.values()))
    states = dict(zip(checks, answers, strict=True))
    if states["database"] != "ok" or states["storage"] != "ok":
        response.status_code = 503
        return HealthOut(status="unavailable", checks=states)
    return HealthOut(status="ok" if states["queue"] == "ok" else "degraded", checks=states)


async def _state(check: Awaitable[None]) -> str:
    try:
        await check
    except AppError as error:
        return error.message
    return "ok"
