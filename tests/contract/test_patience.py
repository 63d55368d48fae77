"""Waiting while MongoDB is away: a server that is stopped and started again."""

from __future__ import annotations

import asyncio
import time
from contextlib import ExitStack

import pytest

from core.database import MongoDB
from core.errors import Conflict, DatabaseUnavailable
from repositories.models import JobCreate, JobOptions, Source
from repositories.patience import patient
from repositories.task_repository import TaskRepository
from tests.contract.servers import embedded_mongodb, free_port


@pytest.fixture
async def away(make_settings, closed_port):
    """Jobs in a database that cannot be reached."""
    url = f"mongodb://127.0.0.1:{closed_port}"
    database = MongoDB(make_settings(mongodb_url=url, mongodb_timeout_ms=100))
    await database.connect()
    yield TaskRepository(database)
    await database.disconnect()


def a_request() -> JobCreate:
    source = Source(object="o", file_name="f", size_bytes=1, sha256="", format="wav", codec="pcm")
    return JobCreate(id="job-1", owner="ann", options=JobOptions(model="m"), source=source)


async def test_it_waits_until_the_server_is_back(make_settings, tmp_path):
    port = free_port()
    url = f"mongodb://127.0.0.1:{port}"
    database = MongoDB(make_settings(mongodb_url=url, mongodb_timeout_ms=200))
    await database.connect()
    jobs = patient(TaskRepository(database), 60)
    with ExitStack() as first:
        first.enter_context(embedded_mongodb(tmp_path, port))
        made = await jobs.create_job(a_request())
        assert await jobs.get_job("job-1") == made

    asked = asyncio.create_task(jobs.get_job("job-1"))
    await asyncio.sleep(1.5)
    assert not asked.done()
    with ExitStack() as second:
        server = embedded_mongodb(tmp_path, port)
        await asyncio.to_thread(second.enter_context, server)
        assert await asyncio.wait_for(asked, 30) == made
    await database.disconnect()


async def test_it_gives_up_when_its_time_is_over(away):
    began = time.monotonic()
    with pytest.raises(DatabaseUnavailable):
        await patient(away, 1.0).get_job("job-1")
    assert 0.5 < time.monotonic() - began < 10


async def test_without_patience_the_first_failure_counts(away):
    began = time.monotonic()
    with pytest.raises(DatabaseUnavailable):
        await patient(away, 0).get_job("job-1")
    assert time.monotonic() - began < 5


async def test_other_errors_pass_at_once(database):
    jobs = patient(TaskRepository(database), 600)
    await jobs.create_job(a_request())
    began = time.monotonic()
    with pytest.raises(Conflict):
        await jobs.create_job(a_request())
    assert time.monotonic() - began < 5


async def test_cancelling_ends_the_wait(away):
    asked = asyncio.create_task(patient(away, 600).get_job("job-1"))
    await asyncio.sleep(0.5)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(asked, 5)
