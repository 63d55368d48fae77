"""The contract of `MongoDB`: what a connection promises before any query."""

from __future__ import annotations

import pytest

from core.database import MongoDB, close_database, get_database
from core.errors import DatabaseUnavailable, Misconfigured
from repositories.task_repository import TaskRepository


async def test_connection_can_be_closed_and_opened_again(database):
    await database.disconnect()
    await database.disconnect()
    with pytest.raises(RuntimeError, match="connect"):
        database.get_collection("jobs")
    await database.connect()
    await database.health_check()


async def test_process_has_one_connection_until_it_is_closed(make_settings, mongodb_url):
    settings = make_settings(mongodb_url=mongodb_url)
    first = await get_database(settings)
    assert await get_database(settings) is first
    await first.health_check()
    await close_database()
    await close_database()
    assert await get_database(settings) is not first
    await close_database()


async def test_unreachable_database_is_worth_another_try(make_settings, closed_port):
    url = f"mongodb://127.0.0.1:{closed_port}"
    database = MongoDB(make_settings(mongodb_url=url, mongodb_timeout_ms=100))
    await database.connect()
    for call in (database.health_check(), TaskRepository(database).get_job("job-1")):
        with pytest.raises(DatabaseUnavailable) as unreachable:
            await call
        assert unreachable.value.retryable
    await database.disconnect()


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost",
        "mongodb://",
        "mongodb://host:port",
        "mongodb://host:99999",
        "mongodb://a@b@c",
    ],
)
async def test_malformed_address_is_a_mistake_of_the_settings(make_settings, url):
    with pytest.raises(Misconfigured, match="MONGODB_URL"):
        await MongoDB(make_settings(mongodb_url=url)).connect()


async def test_using_a_database_before_connecting_is_refused(make_settings):
    with pytest.raises(RuntimeError, match="connect"):
        MongoDB(make_settings()).get_collection("jobs")
