"""Requests that wait: how many one owner may have open at the same time.

A request that waits for a transcript, or listens to events, costs little, but each holds a
connection and asks the database now and then. They are counted in this process.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, Request

from core.errors import TooManyTasks
from internal.api.dependencies import OwnerDep


class WaitingRequests:
    """Counts the requests of each owner that wait.

    Args:
        limit: How many of one owner may, at least 1.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._by_owner: Counter[str] = Counter()

    @asynccontextmanager
    async def slot(self, owner: str) -> AsyncIterator[None]:
        """Count one more of an owner's while the body runs.

        Raises:
            TooManyTasks: As many wait as may (retryable; code `too_many_waiting`).
        """
        if self._by_owner[owner] >= self._limit:
            raise TooManyTasks(
                f"You have {self._limit} requests open that wait for results, the most allowed "
                "here. Close some, or ask GET /api/v1/tasks/{id} now and then instead.",
                code="too_many_waiting",
                limit=self._limit,
            )
        self._by_owner[owner] += 1
        try:
            yield
        finally:
            self._by_owner[owner] -= 1
            if not self._by_owner[owner]:
                del self._by_owner[owner]


@asynccontextmanager
async def waiting_slot(request: Request, owner: str) -> AsyncIterator[None]:
    """Count a request of this owner as waiting while the body runs.

    Raises:
        TooManyTasks: As many wait as may (retryable; code `too_many_waiting`).
    """
    waiting: WaitingRequests = request.app.state.waiting
    async with waiting.slot(owner):
        yield


async def _hold_slot(request: Request, owner: OwnerDep) -> AsyncIterator[None]:
    async with waiting_slot(request, owner):
        yield


# For routes that answer with a stream: as a parameter, it holds the slot until the last byte has
# been sent or the client has gone, and refuses before the first.
WaitingSlotDep = Annotated[None, Depends(_hold_slot)]
