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
    """Asks MongoDB, Redis and the object store for a sign of life."""
    checks = {
        "database": container.database.health_check(),
        "queue": container.queue.health_check(),
        "storage": container.store.health_check(),
    }
    answers = await asyncio.gather(*(_state(check) for check in checks.values()))
    states = dict(zip(checks, answers, strict=True))
    well = all(state == "ok" for state in states.values())
    response.status_code = 200 if well else 503
    return HealthOut(status="ok" if well else "unavailable", checks=states)


async def _state(check: Awaitable[None]) -> str:
    try:
        await check
    except AppError as error:
        return error.message
    return "ok"
