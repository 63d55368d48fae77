"""One clock for all: the database's, on every database that there is."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from unittest import mock

import pytest

from core import clock
from core.database import MongoDB
from core.errors import DatabaseUnavailable

MINUTE = timedelta(minutes=1)
LONG_AGO = datetime(2024, 2, 29, 12, 0, 0, 123_456, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _own_clock(monkeypatch) -> None:
    """Leave this process's clock as it was."""
    monkeypatch.setattr(clock, "_server_time", None)
    monkeypatch.setattr(clock, "_asked_at", 0.0)


async def test_the_server_says_the_time_in_utc(database):
    moment = await database.server_time()
    assert moment.utcoffset() == timedelta(0)
    assert abs(moment - datetime.now(UTC)) < MINUTE


async def test_the_servers_time_goes_on(database):
    first = await database.server_time()
    time.sleep(0.05)
    assert timedelta(milliseconds=40) < await database.server_time() - first < MINUTE


async def test_this_process_goes_by_it_once_it_has_asked(database):
    clock.synchronise(await database.server_time())
    assert abs(clock.utc_now() - await database.server_time()) < timedelta(seconds=1)


async def test_a_database_that_is_away_tells_no_time(make_settings, closed_port):
    url = f"mongodb://127.0.0.1:{closed_port}"
    away = MongoDB(make_settings(mongodb_url=url, mongodb_timeout_ms=100))
    await away.connect()
    with pytest.raises(DatabaseUnavailable):
        await away.server_time()
    await away.disconnect()


def test_until_then_it_goes_by_its_own_clock():
    assert abs(clock.utc_now() - datetime.now(UTC)) < MINUTE


def test_the_machines_own_clock_has_no_say():
    """Here it is wrong by years, and set while the process runs."""
    clock.synchronise(LONG_AGO)
    with mock.patch.object(clock, "datetime") as wrong:
        wrong.now.return_value = datetime(1999, 1, 1, tzinfo=UTC)
        first = clock.utc_now()
        time.sleep(0.05)
        second = clock.utc_now()
    assert timedelta(0) <= first - LONG_AGO.replace(microsecond=123_000) < MINUTE
    assert timedelta(milliseconds=40) < second - first < MINUTE


def test_times_have_the_milliseconds_that_the_database_keeps():
    clock.synchronise(LONG_AGO)
    assert clock.utc_now().microsecond % 1000 == 0


def test_the_last_answer_counts():
    clock.synchronise(LONG_AGO)
    clock.synchronise(LONG_AGO + timedelta(days=1))
    assert clock.utc_now() - LONG_AGO > timedelta(hours=23)
