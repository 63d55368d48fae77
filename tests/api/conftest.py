"""Backends with settings of their own."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.api.support import TASKS, api_process
from tests.conftest import Stack, clean_environment, own_stack
from tests.contract.servers import embedded_mongodb, embedded_redis


@pytest.fixture(scope="package")
def servers_alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """What names servers that no consumer is connected to."""
    data_dir = tmp_path_factory.mktemp("idle")
    redis_dir, mongo_dir = (tmp_path_factory.mktemp(name) for name in ("redis", "mongo"))
    with embedded_mongodb(mongo_dir) as url, embedded_redis(redis_dir) as redis:
        yield clean_environment(
            DATA_DIR=str(data_dir),
            STORAGE_BACKEND="folder",
            MONGODB_URL=url,
            REDIS_PORT=str(redis["redis_port"]),
            REDIS_PASSWORD=redis["redis_password"],
            REUSE_TRANSCRIPTS="false",
        )


@pytest.fixture(scope="package")
def idle(servers_alone: dict[str, str]) -> Iterator[httpx.Client]:
    """An API whose tasks are never begun.

    It has room for two that are open, and keeps tasks for twelve hours.
    """
    limits = {"MAX_OPEN_TASKS_PER_OWNER": "2", "RETENTION_HOURS": "12"}
    with api_process(servers_alone, **limits) as client:
        yield client


@pytest.fixture
def waiting(idle: httpx.Client) -> httpx.Client:
    """The same, without tasks."""
    for task in idle.get(TASKS).json()["tasks"]:
        idle.delete(f"{TASKS}/{task['id']}").raise_for_status()
    return idle


@pytest.fixture(scope="package")
def forgetful(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack that takes over transcripts, and looks every second for what has expired."""
    settings = {"REUSE_TRANSCRIPTS": "true", "SWEEP_SECONDS": "1"}
    with own_stack(tmp_path_factory, "forgetful", **settings) as backend:
        yield backend
