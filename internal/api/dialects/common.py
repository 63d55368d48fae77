"""What the dialects share: a recording becomes a task, and the request waits for its end.

The task is as durable as any other: whatever becomes of the request, it can be fetched over
/api/v1/tasks by the id that the answer carries (docs/decisions/0013).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, closing, suppress
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import anyio
from fastapi import Depends, Header, HTTPException, Request

from core.errors import AppError, Conflict, InvalidInput, NotFound
from core.logger import bound, logger
from internal.api.dependencies import ContainerDep, OwnerDep
from internal.api.error_shapes import ABOUT_THE_RECORDING
from internal.api.receiving import IdempotencyKey
from internal.api.waiting import WaitingSlotDep
from internal.container import Container
from repositories.models import JobModel, JobStatus
from services.event_service import TaskEvent
from services.upload_service import RequestedOptions, Upload
from worker.constants import LANGUAGE_NAMES

# nginx's "client closed request": nobody reads it, but the log says what happened.
_CLIENT_GONE = 499
_CODES = {name: code for code, name in LANGUAGE_NAMES.items()}


@dataclass(frozen=True)
class Finished:
    """A completed task and its transcript's JSON values."""

    job: JobModel
    transcript: dict[str, Any]


class Exchange:
    """A request that is answered with a transcript.

    Every method may raise `DatabaseUnavailable` or `StorageUnavailable` (both retryable).

    Args:
        request: What was asked.
        container: The parts of the application.
        owner: Whose task it becomes.
        on_disconnect: What becomes of the task if the client goes away while it waits.
        key: The client's Idempotency-Key.
    """

    def __init__(
        self,
        request: Request,
        container: Container,
        owner: str,
        *,
        on_disconnect: Literal["continue", "cancel"],
        key: str | None,
    ) -> None:
        self._request = request
        self._container = container
        self._owner = owner
        self._on_disconnect = on_disconnect
        self._key = key

    async def transcribe(self, upload: Upload, options: RequestedOptions) -> Finished:
        """Make a task of a recording, and wait for its transcript.

        Raises:
            AppError: As `accept` and `finish`.
        """
        job = await self.accept(upload, options)
        return await self.finish(job)

    async def accept(self, upload: Upload, options: RequestedOptions) -> JobModel:
        """Make a task of a recording, and close the file; from here on the answer names the task.

        Raises:
            InvalidInput: An option or the recording cannot be used.
            Conflict: Another request with this key is being worked on (retryable).
        """
        with closing(upload.file):  # which may be large, and the wait long
            accepted = await self._container.uploads.create_task(
                self._owner, upload, options, self._key
            )
        self._request.state.task_id = accepted.job.id
        return accepted.job

    async def finish(self, job: JobModel) -> Finished:
        """Wait for a task's end, or for the client to go away, and return the transcript.

        Raises:
            InvalidInput: The recording turned out to be unusable.
            AppError: It could not be transcribed (status 500): there is no point in trying again.
            Conflict: Somebody cancelled the task.
            NotFound: Somebody deleted it.
        """
        ended = await self._ended(job.id)
        if ended.status is JobStatus.FAILED:
            raise _why(ended)
        ended, transcript = await self._container.tasks.get_task_result(self._owner, job.id)
        return Finished(ended, transcript)

    async def watch(self, job: JobModel) -> AsyncGenerator[list[TaskEvent]]:
        """Yield what is new of a task about twice a second, often nothing, until it has ended.

        Whoever stops listening before that has gone away.
        """
        try:
            async with aclosing(self._container.events.watch(self._owner, job.id)) as looks:
                async for news in looks:
                    yield news
        except (asyncio.CancelledError, GeneratorExit):
            # Shielded, because what answers this request is being cancelled.
            with anyio.CancelScope(shield=True):
                if await self._request.is_disconnected():  # else it is this server that stops
                    await self._leave(job.id)
            raise

    async def _ended(self, job_id: str) -> JobModel:
        events = self._container.events
        ending = asyncio.create_task(events.wait_until_ended(self._owner, job_id))
        leaving = asyncio.create_task(self._disconnected())
        try:
            await asyncio.wait({ending, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if ending.done():
                return ending.result()
            await self._leave(job_id)
            raise HTTPException(_CLIENT_GONE, "The client has gone away.")
        finally:
            for task in (ending, leaving):
                task.cancel()
            await asyncio.gather(ending, leaving, return_exceptions=True)

    async def _disconnected(self) -> None:
        # The body has been received: all that can still come is that the connection is closed.
        while (await self._request.receive())["type"] != "http.disconnect":
            pass

    async def _leave(self, job_id: str) -> None:
        """Do what the client wants to be done when it goes away."""
        with bound(job_id=job_id):
            logger.info("the client has gone away: {}", self._on_disconnect)
            if self._on_disconnect == "continue":
                return
            # It may have ended meanwhile, which is as good.
            with suppress(Conflict, NotFound):
                await self._container.tasks.cancel_task(self._owner, job_id)


async def get_exchange(
    request: Request,
    container: ContainerDep,
    owner: OwnerDep,
    _: WaitingSlotDep,
    on_disconnect: Annotated[
        Literal["continue", "cancel"],
        Header(
            alias="X-On-Disconnect",
            description="What becomes of the task if you go away before the answer: by default it "
            "goes on, and its transcript can be fetched over /api/v1/tasks.",
        ),
    ] = "continue",
    idempotency_key: IdempotencyKey = None,
) -> Exchange:
    """Return the exchange that a request begins; it counts as waiting until it is answered."""
    return Exchange(request, container, owner, on_disconnect=on_disconnect, key=idempotency_key)


ExchangeDep = Annotated[Exchange, Depends(get_exchange)]


def language_code(sent: str | None) -> str | None:
    """Return the code of a language that a client may have named in English."""
    given = (sent or "").strip().lower()
    return _CODES.get(given, given) or None


def language_name(code: str) -> str:
    """Return what Whisper calls a language, in English and lower case."""
    return LANGUAGE_NAMES.get(code, code)


def _why(job: JobModel) -> AppError:
    """Return why a task failed, as the error that it is for whoever sent the recording."""
    assert job.error is not None
    if job.error.code in ABOUT_THE_RECORDING:
        return InvalidInput(job.error.message, code=job.error.code)
    # Whatever it was, it has been tried often enough: the same request would end in the same way.
    return AppError(
        f"The recording could not be transcribed: {job.error.message}", code=job.error.code
    )
