"""Waiting while MongoDB is away, for those who have work in hand that must not be lost by it."""

from __future__ import annotations

import asyncio
import functools
import inspect
import time
from collections.abc import Callable
from typing import Any, TypeVar, cast

from core.errors import DatabaseUnavailable
from core.logger import logger

T = TypeVar("T")

_FIRST_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 2.0


def patient(repository: T, seconds: float) -> T:
    """Return a repository whose methods try again for so long before they raise.

    Right for methods that can be run twice: a call may have been carried out although its answer
    was lost.
    """
    return cast(T, _Patient(repository, seconds))


class _Patient:
    def __init__(self, repository: object, seconds: float) -> None:
        self._repository = repository
        self._seconds = seconds

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._repository, name)
        return self._waiting(method) if inspect.iscoroutinefunction(method) else method

    def _waiting(self, method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        async def call(*args: Any, **kwargs: Any) -> Any:
            deadline, pause = time.monotonic() + self._seconds, _FIRST_PAUSE_SECONDS
            while True:
                try:
                    return await method(*args, **kwargs)
                except DatabaseUnavailable:
                    if time.monotonic() + pause > deadline:
                        raise
                    logger.warning("MongoDB is away: waiting for it")
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

        return call
