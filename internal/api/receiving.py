"""Receiving recordings: clients are turned away before they send one for which there is no room."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import Header, Request, Response, UploadFile
from fastapi.routing import APIRoute

from internal.api.dependencies import get_container, get_owner
from internal.api.schemas import TaskOut
from repositories.models import JobModel
from services.recording import shown_name
from services.upload_service import Accepted, Upload

IdempotencyKey = Annotated[
    str | None,
    Header(
        description="Any text of the client's: of several requests with the same, one task is "
        "made, and all are answered with it.",
        min_length=1,
        max_length=255,
    ),
]


class AdmittedRoute(APIRoute):
    """Turns clients away before their recordings are received, while there is no room for them."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler with the check before it."""
        handle = super().get_route_handler()

        async def admit_and_handle(request: Request) -> Response:
            key = request.headers.get("Idempotency-Key")
            await get_container(request).uploads.admit(get_owner(request), key)
            return await handle(request)

        return admit_and_handle


async def received(file: UploadFile) -> Upload:
    """Return a form's recording as a real file, with a name that is fit to be shown."""
    spooled = file.file
    # A named place in the file system is what ffmpeg needs, and small uploads are still in memory.
    await asyncio.to_thread(spooled.rollover)  # type: ignore[attr-defined]
    return Upload(file=spooled, file_name=shown_name(file.filename))


def answer_task(job: JobModel, request: Request, response: Response) -> TaskOut:
    """Answer with a task that is being worked on, and where to ask how far it is."""
    response.headers["Location"] = request.url_for("get_task", task_id=job.id).path
    return TaskOut.of(job)


def answer_accepted(accepted: Accepted, request: Request, response: Response) -> TaskOut:
    """Answer with a task that was asked for, now or by an earlier request with the same key."""
    if accepted.is_replay:
        response.headers["Idempotent-Replayed"] = "true"
    return answer_task(accepted.job, request, response)
