"""The services with real servers around them: what `internal.container` puts together."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator

import pymongo
import pytest

from internal.container import Container, open_container
from tests.contract.conftest import (  # noqa: F401 - fixtures
    embedded_mongodb_url,
    make_settings,
    mongodb_url,
    redis_client,
    redis_server,
)
from tests.services.support import Queues


@pytest.fixture
async def parts(make_settings, mongodb_url, redis_server, redis_client) -> AsyncIterator[Container]:  # noqa: F811
    """All parts on an empty database, an empty folder and empty queues."""
    name = f"services_{uuid.uuid4().hex}"
    settings = make_settings(
        mongodb_url=mongodb_url, mongodb_database=name, storage_backend="folder", **redis_server
    )
    async with open_container(settings) as container:
        await container.init_storage()
        yield container
    with pymongo.MongoClient(mongodb_url) as client:
        client.drop_database(name)


@pytest.fixture
def queues(redis_client) -> Queues:  # noqa: F811
    return Queues(redis_client)
