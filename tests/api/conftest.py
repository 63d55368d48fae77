"""Backends with settings of their own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.api.support import TASKS, api_process, bearer, key_of
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


@dataclass(frozen=True)
class Keyed:
    """A whole backend with an API key that allows everything, and a client that sends it."""

    stack: Stack
    api: httpx.Client
    token: str


@pytest.fixture(scope="package")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keyed]:
    """One without limits; the only private address that it may reach is this machine's."""
    limits = ("RATE_LIMIT_PER_KEY", "RATE_LIMIT_PER_ADDRESS")
    settings = dict.fromkeys(limits, "0") | {"ALLOWED_NETWORKS": '["127.0.0.1/32"]'}
    settings |= dict.fromkeys(("MAX_OPEN_TASKS", "MAX_OPEN_TASKS_PER_OWNER"), "100000")
    with (
        own_stack(tmp_path_factory, "keyed", **settings) as stack,
        httpx.Client(base_url=stack.url, timeout=60) as api,
    ):
        token = key_of(api, "root", "admin")
        api.headers.update(bearer(token))
        yield Keyed(stack, api, token)


@dataclass(frozen=True)
class Guarded:
    """An API that listens to everybody, and one who may do everything there."""

    environment: dict[str, str]
    admin: httpx.Client

    @property
    def port(self) -> int:
        port = self.admin.base_url.port
        assert port is not None
        return port

    def client(self, token: str | None = None) -> httpx.Client:
        """A client on loopback, with a key or without."""
        headers = bearer(token) if token else {}
        return httpx.Client(base_url=self.admin.base_url, headers=headers, timeout=60)


@pytest.fixture(scope="package")
def guarded(
    servers_alone: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Guarded]:
    """An API that has keys, and room for the tasks of several owners that are never begun."""
    settings = {"ALLOWED_NETWORKS": '["127.0.0.1"]'}
    with guarded_api(servers_alone, tmp_path_factory.mktemp("guarded"), **settings) as api:
        yield api


@contextmanager
def guarded_api(environment: dict[str, str], folder: Path, **settings: str) -> Iterator[Guarded]:
    """An API with a database of its own, and a first key in it."""
    with (
        embedded_mongodb(folder) as url,
        api_process(environment, MONGODB_URL=url, API_HOST="0.0.0.0", **settings) as local,
    ):
        token = key_of(local, "root", "admin")
        with httpx.Client(base_url=local.base_url, headers=bearer(token), timeout=60) as admin:
            yield Guarded(environment | {"MONGODB_URL": url}, admin)
