"""One clock for all machines: the database's.

Leases are compared across machines, and a consumer's own clock may be off by an hour. Each process
asks the database for the time once and counts on from there by its monotonic clock, which nobody
can set. Until it has asked, it goes by its own clock. Imports nothing of the project.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

_server_time: datetime | None = None
_asked_at = 0.0


def synchronise(server_time: datetime) -> None:
    """Go by the database's clock from now on; it has just said that it is `server_time` (UTC)."""
    global _server_time, _asked_at  # one clock a process, as with the system's own
    _server_time, _asked_at = server_time, time.monotonic()


def is_synchronised() -> bool:
    """Whether this process goes by the database's clock already."""
    return _server_time is not None


def utc_now() -> datetime:
    """Return the current time in UTC, in the milliseconds that MongoDB keeps."""
    if _server_time is None:
        now = datetime.now(UTC)
    else:
        now = _server_time + timedelta(seconds=time.monotonic() - _asked_at)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)
