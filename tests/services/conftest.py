"""The services with real servers around them: what `internal.container` puts together."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable, Iterator

import pymongo
import pytest
from rq import Queue, Worker
from rq.serializers import JSONSerializer

from core import clock
from core.messaging import RedisQueueManager
from internal.container import Container, open_container
from services.endings import Endings
from services.planner import Planner
from tests.contract.conftest import (  # noqa: F401 - fixtures
    closed_port,
    embedded_mongodb_url,
    make_settings,
    mongodb_url,
    redis_client,
    redis_server,
)
from tests.services.support import Queues


@pytest.fixture
async def parts(
    make_settings,  # noqa: F811
    mongodb_url,  # noqa: F811
    redis_server,  # noqa: F811
    redis_client,  # noqa: F811
    monkeypatch,
) -> AsyncIterator[Container]:
    """All parts on an empty database, an empty folder and empty queues."""
    for name in ("_server_time", "_asked_at"):  # this process's clock is as it was afterwards
        monkeypatch.setattr(clock, name, getattr(clock, name))
    name = f"services_{uuid.uuid4().hex}"
    settings = make_settings(
        mongodb_url=mongodb_url,
        mongodb_database=name,
        storage_backend="folder",
        min_free_disk_bytes=0,
        **redis_server,
    )
    async with open_container(settings) as container:
        await container.init_storage()
        yield container
    with pymongo.MongoClient(mongodb_url) as client:
        client.drop_database(name)


@pytest.fixture
def endings(parts) -> Endings:
    return Endings(parts.jobs, parts.chunks, parts.units, parts.segments, parts.store)


@pytest.fixture
def planner(parts, endings) -> Planner:
    return Planner(parts.jobs, parts.chunks, parts.units, parts.dispatcher, endings)


@pytest.fixture
def queues(redis_client) -> Queues:  # noqa: F811
    return Queues(redis_client)


@pytest.fixture
async def away(parts, closed_port, monkeypatch) -> AsyncIterator[RedisQueueManager]:  # noqa: F811
    """The queues of a Redis that cannot be reached."""
    monkeypatch.setattr("redis.retry.sleep", lambda seconds: None)
    manager = RedisQueueManager(parts.settings.model_copy(update={"redis_port": closed_port}))
    yield manager
    await manager.close()


@pytest.fixture
def register(redis_client) -> Iterator[Callable[..., None]]:  # noqa: F811
    """Return a function that registers a consumer, which does nothing, of each queue named."""
    workers = []

    def add(*names: str) -> None:
        for name in names:
            queue = Queue(name, connection=redis_client, serializer=JSONSerializer)
            worker = Worker([queue], connection=redis_client, serializer=JSONSerializer)
            worker.register_birth()
            workers.append(worker)

    yield add
    for worker in workers:
        worker.register_death()
