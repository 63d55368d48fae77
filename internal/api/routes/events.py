"""Listening to a task: Server-Sent Events, which go on after every interruption."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Response
from fastapi.responses import StreamingResponse
from fastapi.sse import KEEPALIVE_COMMENT, EventSourceResponse, format_sse_event
from pydantic import BaseModel, Field

from core.errors import NotFound, TransientError
from core.logger import logger
from internal.api.dependencies import ContainerDep, OwnerDep
from internal.api.responses import errors
from internal.api.schemas import TaskStatusOut
from internal.api.waiting import WaitingSlotDep
from services.event_service import EventService, TaskEvent

router = APIRouter(prefix="/api/v1/tasks", tags=["tasks"])

# Proxies close what is silent for a minute, some after half of that.
_KEEPALIVE_SECONDS = 15.0
# How soon a client connects again; the task goes on meanwhile.
_RECONNECT_MS = 1000


class SegmentEventOut(BaseModel):
    """The data of a `segment` event."""

    id: int = Field(description="Place in the transcript, from 0.", examples=[3])
    start: float = Field(description="Seconds from the start of the recording.", examples=[7.42])
    end: float = Field(examples=[9.08])
    text: str = Field(examples=["Good morning everyone."])


async def get_events(container: ContainerDep) -> EventService:
    """Return the use cases of those who wait for tasks."""
    return container.events


@router.get(
    "/{task_id}/events",
    summary="Listen to a task",
    # Not EventSourceResponse, by which FastAPI would take the route itself for a generator.
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "Events until the task has ended. `status`: the task, as "
            "`GET /api/v1/tasks/{id}` answers it. `segment`: the next part of the transcript, "
            "without speakers. Last, `completed`, `failed` or `cancelled` with the task, or "
            "`deleted`.",
            "content": {"text/event-stream": {}},
        },
        204: {"description": "The task has ended, and you have had its last event."},
        **errors(404, 422, 429, 503),
    },
)
async def listen(
    task_id: str,
    owner: OwnerDep,
    events: Annotated[EventService, Depends(get_events)],
    _: WaitingSlotDep,
    last_event_id: Annotated[
        str | None,
        Header(
            description="The `id` of the last event that you had: what came after it is sent. "
            "Without it, everything is.",
            max_length=200,
        ),
    ] = None,
) -> Response:
    """Stream what happens to a task: its status, its segments as they are found, and its end.

    After any interruption, connect again with the `Last-Event-ID` that you had: nothing is lost,
    nothing comes twice.
    """
    if not await events.has_more(owner, task_id, last_event_id):
        return Response(status_code=204)
    return EventSourceResponse(
        encode(events, owner, task_id, last_event_id),
        headers={"X-Accel-Buffering": "no"},
    )


async def encode(
    events: EventService, owner: str, task_id: str, last_event_id: str | None
) -> AsyncGenerator[bytes]:
    """Yield a task's events as they are sent, and a comment wherever there are none for long."""
    yield format_sse_event(retry=_RECONNECT_MS)
    said = time.monotonic()
    try:
        async with aclosing(events.watch(owner, task_id, last_event_id)) as looks:
            async for news in looks:
                for event in news:
                    yield _to_bytes(event)
                if news:
                    said = time.monotonic()
                elif time.monotonic() - said >= _KEEPALIVE_SECONDS:
                    yield KEEPALIVE_COMMENT
                    said = time.monotonic()
    except (NotFound, TransientError) as error:
        # An event stream cannot tell: whoever connects again is answered with it.
        logger.info("event stream ends: {}", error.message)


def _to_bytes(event: TaskEvent) -> bytes:
    data: Any = event.data
    if event.status is not None:
        data = TaskStatusOut.of_status(event.status).model_dump(mode="json")
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return format_sse_event(event=event.type, id=event.id, data_str=text)
