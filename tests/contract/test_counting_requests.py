"""Counting requests: all processes together in Redis, each by itself while that is away."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest

from core.config import Settings
from core.errors import TooManyTasks
from core.rate_limits import RateLimits, open_rate_limits


@pytest.fixture
async def opened(redis_client):
    """Return a function that opens another process's counting; all of it is closed afterwards."""
    async with AsyncExitStack() as stack:

        async def opened(settings: Settings) -> RateLimits:
            return await stack.enter_async_context(open_rate_limits(settings))

        yield opened


async def allowed(limits: RateLimits, times: int, who: str = "alice", most: int = 3) -> int:
    """How many of so many requests pass."""
    refusals = []
    for _ in range(times):
        try:
            await limits.hit("key", who, most)
        except TooManyTasks as refusal:
            refusals.append(refusal)
    for refusal in refusals:
        assert refusal.error_code == "rate_limited"
        assert 1 <= refusal.details["retry_after"] <= 62
    return times - len(refusals)


async def test_processes_count_together(opened, make_settings, redis_server):
    settings = make_settings(**redis_server)
    one, other = await opened(settings), await opened(settings)
    assert await allowed(one, 2) == 2
    assert await allowed(other, 5) == 1
    assert await allowed(one, 5) == 0
    assert await allowed(one, 5, who="bob") == 3


async def test_the_window_ends(opened, make_settings, redis_server, redis_client, monkeypatch):
    limits = await opened(make_settings(**redis_server))
    assert await allowed(limits, 5) == 3
    (window,) = redis_client.keys("requests*")
    assert 0 < redis_client.ttl(window) <= 60
    redis_client.delete(window)
    assert await allowed(limits, 5) == 0, "remembered in the process"
    monkeypatch.setattr(limits, "_refused_until", {})
    assert await allowed(limits, 5) == 3


async def test_no_limit_is_not_counted(opened, make_settings, redis_server, redis_client):
    limits = await opened(make_settings(**redis_server))
    assert await allowed(limits, 50, most=0) == 50
    assert redis_client.keys() == []


async def test_without_redis_each_counts_by_itself(opened, make_settings, closed_port):
    settings = make_settings(redis_port=closed_port)
    one, other = await opened(settings), await opened(settings)
    assert await allowed(one, 5) == 3
    assert await allowed(other, 5) == 3


async def test_a_wrong_password_stops_nobody(opened, make_settings, redis_server):
    limits = await opened(make_settings(**redis_server | {"redis_password": "wrong"}))
    assert await allowed(limits, 5) == 3
