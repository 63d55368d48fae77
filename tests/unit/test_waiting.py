"""How many requests of one owner may wait at the same time."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest

from core.errors import TooManyTasks
from internal.api.waiting import WaitingRequests


async def test_each_owner_has_so_many():
    waiting = WaitingRequests(2)
    async with AsyncExitStack() as open_requests:
        for owner in ("alice", "bob", "alice", "bob"):
            await open_requests.enter_async_context(waiting.slot(owner))
        for owner in ("alice", "bob"):
            with pytest.raises(TooManyTasks) as refusal:
                await open_requests.enter_async_context(waiting.slot(owner))
            assert refusal.value.error_code == "too_many_waiting"
            assert refusal.value.details["limit"] == 2
        await open_requests.enter_async_context(waiting.slot("carol"))


async def test_there_is_room_again_however_a_wait_ends():
    waiting = WaitingRequests(1)
    for _ in range(3):
        with pytest.raises(KeyError):
            async with waiting.slot("alice"):
                raise KeyError
        with pytest.raises(TooManyTasks):
            async with waiting.slot("alice"), waiting.slot("alice"):
                pass
        async with waiting.slot("alice"):
            pass
