"""Real servers for the contract tests, started here or named in the environment.

    TEST_MONGODB_URL       a MongoDB, tested beside the embedded one, in databases of our own
    TEST_REDIS_URL         a Redis whose database is empty, used instead of the embedded one
    TEST_MINIO_ENDPOINT    a MinIO, tested beside the others, in buckets of our own
                           (with TEST_MINIO_ACCESS_KEY and TEST_MINIO_SECRET_KEY)

A server that is missing or does not come up is an error, never a skip.
"""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any
from urllib.parse import unquote, urlsplit

import pymongo
import pytest
import redis
from minio import Minio

from core.config import Settings
from core.database import MongoDB
from core.storage import ObjectStore, get_storage
from repositories.task_repository import TaskRepository
from tests.contract.servers import S3Server, embedded_mongodb, embedded_redis, embedded_s3

MakeSettings = Callable[..., Settings]

DATABASES = ["embedded"] + (["mongodb"] if "TEST_MONGODB_URL" in os.environ else [])
S3_SERVERS = {"moto": "moto_server"}
if "TEST_MINIO_ENDPOINT" in os.environ:
    S3_SERVERS["minio"] = "named_minio"


@pytest.fixture
def make_settings(monkeypatch, tmp_path) -> MakeSettings:
    """Make settings from the defaults and the given changes; the environment has no say."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)

    def make(**changes: Any) -> Settings:
        return Settings(_env_file=None, **{"data_dir": tmp_path} | changes)

    return make


@pytest.fixture(scope="session")
def closed_port() -> Iterator[int]:
    """A port that refuses connections: bound, so that nobody else gets it, and not listening."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


@pytest.fixture(scope="session")
def embedded_mongodb_url(tmp_path_factory) -> Iterator[str]:
    with embedded_mongodb(tmp_path_factory.mktemp("mongo")) as url:
        yield url


@pytest.fixture(params=DATABASES)
def mongodb_url(request) -> str:
    if request.param == "mongodb":
        return os.environ["TEST_MONGODB_URL"]
    return request.getfixturevalue("embedded_mongodb_url")


@pytest.fixture
async def database(make_settings, mongodb_url) -> AsyncIterator[MongoDB]:
    """A connection to an empty database, which is dropped afterwards."""
    name = f"contract_{uuid.uuid4().hex}"
    database = MongoDB(make_settings(mongodb_url=mongodb_url, mongodb_database=name))
    await database.connect()
    await database.health_check()
    yield database
    await database.disconnect()
    with pymongo.MongoClient(mongodb_url) as client:
        client.drop_database(name)


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory) -> Iterator[dict[str, Any]]:
    """Settings of a Redis that wants a password."""
    if url := os.environ.get("TEST_REDIS_URL"):
        yield _named_redis(url)
        return
    with embedded_redis(tmp_path_factory.mktemp("redis")) as settings:
        yield settings


@pytest.fixture
def redis_client(redis_server) -> Iterator[redis.Redis]:
    """A client of an empty database, which is emptied afterwards."""
    with _redis_client(redis_server) as client:
        yield client
        client.flushdb()


def _named_redis(url: str) -> dict[str, Any]:
    parts = urlsplit(url)
    settings = {
        "redis_host": parts.hostname,
        "redis_port": parts.port or 6379,
        "redis_db": int(parts.path.strip("/") or 0),
        "redis_password": unquote(parts.password) if parts.password else None,
    }
    with _redis_client(settings) as client:
        if client.dbsize() > 0:
            raise RuntimeError("TEST_REDIS_URL names a database that is not empty: not touching it")
    return settings


def _redis_client(settings: dict[str, Any]) -> redis.Redis:
    names = {name.removeprefix("redis_"): value for name, value in settings.items()}
    return redis.Redis(**names)


@pytest.fixture
async def jobs(database) -> TaskRepository:
    repository = TaskRepository(database)
    await repository.ensure_indexes()
    return repository


@pytest.fixture(scope="session")
def moto_server(tmp_path_factory) -> Iterator[S3Server]:
    with embedded_s3(tmp_path_factory.mktemp("moto")) as server:
        yield server


@pytest.fixture(scope="session")
def named_minio() -> S3Server:
    names = ("TEST_MINIO_ENDPOINT", "TEST_MINIO_ACCESS_KEY", "TEST_MINIO_SECRET_KEY")
    return S3Server(*(os.environ[name] for name in names))


@pytest.fixture(params=S3_SERVERS)
def s3_settings(request, make_settings) -> Iterator[Settings]:
    """Settings of a bucket that nobody has made; if a test makes it, it is removed afterwards."""
    settings = _bucket_settings(request, make_settings)
    yield settings
    _remove_bucket(settings)


@pytest.fixture(params=["folder", *S3_SERVERS])
async def store(request, make_settings) -> AsyncIterator[ObjectStore]:
    """An empty store, which is removed afterwards."""
    if request.param == "folder":
        settings = make_settings(storage_backend="folder")
    else:
        settings = _bucket_settings(request, make_settings)
    store = get_storage(settings)
    await store.prepare()
    yield store
    await store.delete_prefix("")
    if settings.storage_backend == "minio":
        _remove_bucket(settings)


def _bucket_settings(request: pytest.FixtureRequest, make_settings: MakeSettings) -> Settings:
    server: S3Server = request.getfixturevalue(S3_SERVERS[request.param])
    return make_settings(**server.as_settings(), minio_bucket=f"contract-{uuid.uuid4().hex}")


def _remove_bucket(settings: Settings) -> None:
    secret = settings.minio_secret_key.get_secret_value()
    client = Minio(settings.minio_endpoint, settings.minio_access_key, secret, secure=False)
    if client.bucket_exists(settings.minio_bucket):
        client.remove_bucket(settings.minio_bucket)
