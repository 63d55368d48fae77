"""Counting requests a minute: in Redis, for all API processes together.

While Redis is away, each process counts in its own memory, so that requests go on. May import
`core.config`, `core.errors`, `core.logger` and `core.messaging`.
"""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage, RedisStorage
from redis.asyncio import BlockingConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from core.config import Settings
from core.errors import AppError, TooManyTasks
from core.logger import logged_operation
from core.messaging import translate_redis_error

# A request waits no longer for Redis than this, and after a failure none does for a while.
_REDIS_SECONDS = 0.5
_REDIS_PAUSE_SECONDS = 5.0
_CONNECTIONS = 32
_REFUSALS_KEPT = 10_000


class RateLimits:
    """Counts in windows of a minute, each from its first request on.

    Whoever is over a limit is remembered until the window ends: refusing costs no round trip.
    """

    def __init__(self, redis: RedisStorage) -> None:
        self._redis = redis
        self._memory = MemoryStorage()
        self._redis_from = 0.0
        self._refused_until: dict[str, float] = {}

    async def hit(self, kind: str, who: str, per_minute: int) -> None:
        """Count one more request.

        Args:
            kind: What is limited: those of different kinds are counted apart.
            who: The key or address that made it.
            per_minute: How many are allowed; 0 for any number, which are not counted.

        Raises:
            TooManyTasks: There were more in this minute (retryable; code `rate_limited`,
                `retry_after` among the details).
        """
        if per_minute == 0:
            return
        limit = RateLimitItemPerMinute(per_minute, namespace=kind)
        key = limit.key_for(who)
        seconds = self._refused_until.get(key, 0) - time.monotonic()
        if seconds <= 0:
            seconds = await self._count(limit, key)
        if seconds > 0:
            after = math.ceil(seconds)
            raise TooManyTasks(
                f"There were more than {per_minute} such requests in a minute, the most allowed "
                f"here. Try again in {after} s.",
                code="rate_limited",
                limit=per_minute,
                retry_after=after,
            )

    async def _count(self, limit: RateLimitItemPerMinute, key: str) -> float:
        """Return for how many seconds no more are allowed, 0 if this one is."""
        seconds = await self._count_in_redis(limit, key)
        if seconds is None:
            seconds = await _count_in(self._memory, limit, key)
        if seconds > 0:
            self._remember_refusal(key, seconds)
        return seconds

    async def _count_in_redis(self, limit: RateLimitItemPerMinute, key: str) -> float | None:
        if time.monotonic() < self._redis_from:
            return None
        try:
            with logged_operation("count request", translate=translate_redis_error, quiet=True):
                return await _count_in(self._redis, limit, key)
        except AppError:
            self._redis_from = time.monotonic() + _REDIS_PAUSE_SECONDS
            return None

    def _remember_refusal(self, key: str, seconds: float) -> None:
        now = time.monotonic()
        if len(self._refused_until) >= _REFUSALS_KEPT:
            current = {key: until for key, until in self._refused_until.items() if until > now}
            self._refused_until = current if len(current) < _REFUSALS_KEPT else {}
        self._refused_until[key] = now + seconds


async def _count_in(
    storage: RedisStorage | MemoryStorage, limit: RateLimitItemPerMinute, key: str
) -> float:
    if await storage.incr(key, limit.get_expiry()) <= limit.amount:
        return 0
    # Redis rounds to seconds, down too.
    return max(await storage.get_expiry(key) - time.time(), 0) + 1


@asynccontextmanager
async def open_rate_limits(settings: Settings) -> AsyncIterator[RateLimits]:
    """Return what counts requests; connections to Redis open when they are needed."""
    password = settings.redis_password
    pool = BlockingConnectionPool(
        host=settings.redis_host,
        port=settings.redis_port,
        db=settings.redis_db,
        password=password.get_secret_value() if password else None,
        socket_connect_timeout=_REDIS_SECONDS,
        socket_timeout=_REDIS_SECONDS,
        timeout=_REDIS_SECONDS,
        max_connections=_CONNECTIONS,
        retry=Retry(NoBackoff(), retries=1),  # a connection that was closed while idle
    )
    storage = RedisStorage(
        "async+redis://",
        implementation="redispy",
        key_prefix="requests",
        connection_pool=pool,  # type: ignore[arg-type]
    )
    try:
        yield RateLimits(storage)
    finally:
        await pool.aclose()
