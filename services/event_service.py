"""Following a task: its events, derived from what is recorded of it, and waiting for its end.

Nothing is written for it: any process can go on where another stopped, knowing only the id of the
last event (docs/decisions/0014).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, suppress
from dataclasses import dataclass, field, replace
from typing import Any

from core.errors import DatabaseUnavailable, TransientError
from core.logger import logger
from repositories.chunk_repository import ChunkRepository
from repositories.models import JobModel
from repositories.task_repository import TaskRepository
from services.event_position import DELETED, Position, state_of
from services.segment_reader import HeardSegment, SegmentReader
from services.task_service import TaskService, TaskStatus

# Between two looks at a task: short recordings take a second or two, most take minutes.
_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 0.5
# Whoever waits for a result, and sees nothing meanwhile, is told of an outage after this long.
_PATIENCE_SECONDS = 60.0


@dataclass(frozen=True)
class TaskEvent:
    """Something that happened to a task.

    Attributes:
        id: Opaque; says everything that has been sent up to and including this event.
        type: `status`, `segment`, or as the last one `completed`, `failed`, `cancelled`, `deleted`.
        data: Of a segment its `id` (place in the transcript, from 0), `start`, `end` (seconds) and
            `text`; provisional: speakers are found at the end, and may split it.
        status: Where the task stands; of all types but `segment` and `deleted`.
    """

    id: str
    type: str
    data: dict[str, Any] = field(default_factory=dict)
    status: TaskStatus | None = None


class EventService:
    """The use cases of everybody who waits for tasks."""

    def __init__(self, jobs: TaskRepository, chunks: ChunkRepository, tasks: TaskService) -> None:
        self._jobs = jobs
        self._chunks = chunks
        self._tasks = tasks
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Send away all who wait, because the process is about to end."""
        self._stopping.set()

    async def wait_until_ended(self, owner: str, job_id: str) -> JobModel:
        """Return a task once it is completed, failed or cancelled.

        Raises:
            NotFound: There is no such task (any more).
            DatabaseUnavailable: MongoDB has been away for a minute (retryable).
            TransientError: This process is stopping (retryable; code `server_stopping`).
        """
        answered = time.monotonic()
        for pause in _pauses():
            try:
                job = await self._jobs.require_job(job_id, owner)
            except DatabaseUnavailable:
                if time.monotonic() - answered > _PATIENCE_SECONDS:
                    raise
            else:
                answered = time.monotonic()
                if job.status.is_terminal:
                    return job
            await self._pause(pause)
        raise AssertionError  # there is always another pause

    async def has_more(self, owner: str, job_id: str, last_event_id: str | None) -> bool:
        """Whether anything may follow an event: nothing does after the last one of an ended task.

        Raises:
            NotFound: There is no such task.
            InvalidInput: `last_event_id` is not of this task (code `invalid_event_id`).
            DatabaseUnavailable: MongoDB cannot be reached (retryable).
        """
        job = await self._jobs.require_job(job_id, owner)
        if not last_event_id:
            return True
        position = Position.parse(last_event_id, job_id).in_attempt(job.attempt)
        return not (job.status.is_terminal and position.state == state_of(job))

    async def follow(
        self, owner: str, job_id: str, last_event_id: str | None = None
    ) -> AsyncGenerator[TaskEvent]:
        """Yield a task's events as they happen, until it has ended.

        While MongoDB is away, this waits for it.

        Args:
            owner: Whose task it is.
            job_id: Which.
            last_event_id: The `id` of the last event that was received: only what comes after it is
                yielded. None for everything.

        Raises:
            NotFound: There is no such task. (One that is deleted later ends with `deleted`.)
            InvalidInput: `last_event_id` is not of this task (code `invalid_event_id`).
            TransientError: This process is stopping (retryable; code `server_stopping`).
        """
        async with aclosing(self.watch(owner, job_id, last_event_id)) as looks:
            async for events in looks:
                for event in events:
                    yield event

    async def watch(
        self, owner: str, job_id: str, last_event_id: str | None = None
    ) -> AsyncGenerator[list[TaskEvent]]:
        """Yield what is new at each look at a task, about twice a second: often nothing.

        Otherwise as `follow`.
        """
        position = Position.parse(last_event_id, job_id) if last_event_id else Position()
        follower = _Follower(job_id, position, self._chunks, self._tasks)
        is_known = False
        for pause in _pauses():
            try:
                job = await (self._jobs.get_job if is_known else self._jobs.require_job)(
                    job_id, owner
                )
                is_known = True
                async for events in follower.news(job):
                    yield events
            except DatabaseUnavailable:
                logger.warning("MongoDB is away: events of a task wait for it")
            if follower.has_ended:
                return
            yield []
            await self._pause(pause)

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)
        if self._stopping.is_set():
            raise TransientError(
                "The server is stopping. Ask again in a moment; the task goes on.",
                code="server_stopping",
            )


class _Follower:
    """What one client has been told of a task, and what is to be told next."""

    def __init__(
        self, job_id: str, position: Position, chunks: ChunkRepository, tasks: TaskService
    ) -> None:
        self._job_id = job_id
        self._position = position
        self._chunks = chunks
        self._tasks = tasks
        self._reader = SegmentReader(chunks)
        self._read_at: tuple[Any, ...] = ()
        self.has_ended = False

    async def news(self, job: JobModel | None) -> AsyncIterator[list[TaskEvent]]:
        """Yield what is new now that a task is as given; None if it has been deleted."""
        if job is None:
            self.has_ended = True
            self._position = replace(self._position, state=DELETED)
            yield [self._event(DELETED)]
            return
        if job.attempt != self._position.attempt:
            self._position = self._position.in_attempt(job.attempt)
            self._reader, self._read_at = SegmentReader(self._chunks), ()
        state = state_of(job)
        changed = state != self._position.state
        if changed and not job.status.is_terminal:
            yield [await self._said(job, "status")]
        heard_at = (job.status, job.stage, job.progress.chunks_done)
        if self._read_at != heard_at:
            more = True
            while more:
                heard, more = await self._reader.read(job)
                yield [self._heard(one) for one in heard if one.number >= self._position.segments]
            self._read_at = heard_at
        if job.status.is_terminal:
            if changed:
                yield [await self._said(job, job.status.value)]
            self.has_ended = True

    async def _said(self, job: JobModel, type_: str) -> TaskEvent:
        status = await self._tasks.describe(job)
        self._position = replace(self._position, state=state_of(job))
        return self._event(type_, status=status)

    def _heard(self, heard: HeardSegment) -> TaskEvent:
        sent = heard.number + 1
        self._position = replace(self._position, segments=sent, firm=min(heard.firm, sent))
        segment = heard.segment
        data = {
            "id": heard.number,
            "start": segment.start,
            "end": segment.end,
            "text": segment.text,
        }
        return self._event("segment", data=data)

    def _event(self, type_: str, **more: Any) -> TaskEvent:
        return TaskEvent(self._position.event_id(self._job_id), type_, **more)


def _pauses() -> Iterator[float]:
    """Yield how long to wait between looks, without end."""
    seconds = _FIRST_PAUSE_SECONDS
    while True:
        yield seconds
        seconds = min(seconds * 1.5, _LONGEST_PAUSE_SECONDS)
