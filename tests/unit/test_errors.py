"""Every error that a driver can raise has a translation into one of ours."""

from __future__ import annotations

import inspect
from types import ModuleType
from unittest.mock import MagicMock

import minio.error
import pymongo.errors
import pytest
import redis.exceptions
import urllib3.exceptions

from core import errors
from core.database import translate_mongo_error
from core.errors import (
    AppError,
    Conflict,
    DatabaseUnavailable,
    Misconfigured,
    PermanentError,
    QueueUnavailable,
    StorageUnavailable,
    TransientError,
)
from core.messaging import translate_redis_error
from core.storage.minio import translate_minio_error

MONGO, REDIS, URLLIB3 = pymongo.errors, redis.exceptions, urllib3.exceptions


def public_errors(module: ModuleType, base: type[Exception]) -> list[type[Exception]]:
    found = [
        value
        for name, value in vars(module).items()
        if inspect.isclass(value) and issubclass(value, base) and not name.startswith("_")
    ]
    assert base in found
    return found


def make(error: type[Exception]) -> Exception:
    """Make an error with whatever arguments it wants."""
    known = {"resp": "12 127.0.0.1:6379", "code": None, "message": "s3cret", "args": "s3cret"}
    _, *parameters = inspect.signature(error.__init__).parameters.values()
    wanted = [p.name for p in parameters if p.default is p.empty and p.kind != p.VAR_KEYWORD]
    return error(*(known.get(name, MagicMock()) for name in wanted))


def s3_error(code: str) -> minio.error.S3Error:
    return minio.error.S3Error(MagicMock(), code, "message", "resource", "request", "host")


EVERY_ERROR = [
    *((translate_mongo_error, e) for e in public_errors(MONGO, MONGO.PyMongoError)),
    *((translate_redis_error, e) for e in public_errors(REDIS, REDIS.RedisError)),
    *((translate_minio_error, e) for e in public_errors(minio.error, minio.error.MinioException)),
    *((translate_minio_error, e) for e in public_errors(URLLIB3, URLLIB3.HTTPError)),
]


@pytest.mark.parametrize(
    ("translate", "error"),
    EVERY_ERROR,
    ids=[f"{e.__module__}.{e.__name__}" for _, e in EVERY_ERROR],
)
def test_every_error_of_a_driver_has_a_translation(translate, error):
    ours = translate(make(error))
    assert isinstance(ours, AppError)
    assert "s3cret" not in ours.message, "drivers' messages hold addresses and logins"


@pytest.mark.parametrize(
    ("translate", "error", "expected"),
    [
        (translate_mongo_error, MONGO.DuplicateKeyError("", 11000), Conflict),
        (translate_mongo_error, MONGO.ServerSelectionTimeoutError(), DatabaseUnavailable),
        (translate_mongo_error, MONGO.NetworkTimeout(), DatabaseUnavailable),
        (translate_mongo_error, MONGO.NotPrimaryError(), DatabaseUnavailable),
        (translate_mongo_error, MONGO.WaitQueueTimeoutError(), DatabaseUnavailable),
        (translate_mongo_error, MONGO.ExecutionTimeout("", 50), DatabaseUnavailable),
        (translate_mongo_error, MONGO.WTimeoutError("", 64), DatabaseUnavailable),
        (translate_mongo_error, MONGO.OperationFailure("", 18), Misconfigured),
        (translate_mongo_error, MONGO.OperationFailure("", 13), Misconfigured),
        (translate_mongo_error, MONGO.OperationFailure("", 2), AppError),
        (translate_mongo_error, MONGO.InvalidURI(), Misconfigured),
        (translate_mongo_error, MONGO.ConfigurationError(), Misconfigured),
        (translate_redis_error, REDIS.ConnectionError(), QueueUnavailable),
        (translate_redis_error, REDIS.TimeoutError(), QueueUnavailable),
        (translate_redis_error, REDIS.BusyLoadingError(), QueueUnavailable),
        (translate_redis_error, REDIS.MaxConnectionsError(), QueueUnavailable),
        (translate_redis_error, REDIS.OutOfMemoryError(), QueueUnavailable),
        (translate_redis_error, REDIS.AuthenticationError(), Misconfigured),
        (translate_redis_error, REDIS.AuthorizationError(), Misconfigured),
        (translate_redis_error, REDIS.NoPermissionError(), Misconfigured),
        (translate_redis_error, REDIS.ResponseError("NOAUTH Authentication needed"), Misconfigured),
        (translate_redis_error, REDIS.ResponseError("WRONGPASS invalid"), Misconfigured),
        (translate_redis_error, REDIS.ResponseError("ERR unknown command"), AppError),
        (translate_minio_error, s3_error("NoSuchBucket"), Misconfigured),
        (translate_minio_error, s3_error("AccessDenied"), Misconfigured),
        (translate_minio_error, s3_error("SignatureDoesNotMatch"), Misconfigured),
        (translate_minio_error, s3_error("InvalidAccessKeyId"), Misconfigured),
        (translate_minio_error, s3_error("SlowDown"), StorageUnavailable),
        (translate_minio_error, minio.error.ServerError("", 503), StorageUnavailable),
        (translate_minio_error, URLLIB3.ProtocolError(), StorageUnavailable),
        (translate_minio_error, OSError(28, "No space left"), StorageUnavailable),
        (translate_minio_error, ValueError("bad bucket name"), Misconfigured),
    ],
)
def test_errors_that_matter_become_the_right_ones(translate, error, expected):
    assert type(translate(error)) is expected


@pytest.mark.parametrize("error", [RuntimeError("x"), KeyError("x"), AssertionError(), TypeError()])
@pytest.mark.parametrize(
    "translate", [translate_mongo_error, translate_redis_error, translate_minio_error]
)
def test_errors_of_others_are_left_alone(translate, error):
    assert translate(error) is None


@pytest.mark.parametrize("translate", [translate_mongo_error, translate_redis_error])
@pytest.mark.parametrize("error", [OSError("x"), ValueError("x"), TimeoutError()])
def test_python_errors_are_not_taken_for_the_drivers(translate, error):
    assert translate(error) is None


def test_each_error_says_whether_another_try_may_help():
    ours = public_errors(errors, AppError)
    assert {error for error in ours if error.retryable} == {
        error for error in ours if issubclass(error, TransientError)
    }
    assert not any(issubclass(error, PermanentError) for error in ours if error.retryable)
    codes = [error.code for error in ours if error not in (AppError, PermanentError)]
    assert len(codes) == len(set(codes))


def test_error_carries_its_own_code_and_details():
    error = StorageUnavailable("Full.", code="disk_full", free=0)
    assert (str(error), error.message, error.error_code) == ("Full.", "Full.", "disk_full")
    assert error.details == {"free": 0}
    assert StorageUnavailable("Gone.").error_code == "storage_unavailable"
