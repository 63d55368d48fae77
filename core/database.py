"""The MongoDB client: connecting, health, and translation of the driver's errors.

The only module that imports motor, so that a change of driver is a change of this file
(MongoDB has deprecated motor in favour of pymongo's own async API, which has the same methods).
May import `core.config`, `core.errors` and `core.logger`.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

from motor.motor_asyncio import (
    AsyncIOMotorClient,
    AsyncIOMotorCollection,
    AsyncIOMotorDatabase,
)
from pymongo.errors import (
    ConfigurationError,
    ConnectionFailure,
    DuplicateKeyError,
    ExecutionTimeout,
    InvalidURI,
    OperationFailure,
    PyMongoError,
    WTimeoutError,
)

from core.config import Settings, load_settings
from core.errors import AppError, Conflict, DatabaseUnavailable, Misconfigured
from core.logger import logged_operation

Document = dict[str, Any]
Collection = AsyncIOMotorCollection[Document]

# Server codes for "authentication failed" and "not authorised".
_AUTH_CODES = {13, 18}


def translate_mongo_error(error: Exception) -> AppError | None:
    """Map a pymongo error to ours, most specific first; None for anything that is not pymongo's."""
    match error:
        case DuplicateKeyError():
            return Conflict("A document with this id exists already.", code="duplicate")
        case ConnectionFailure() | ExecutionTimeout() | WTimeoutError():
            return DatabaseUnavailable("MongoDB cannot be reached. Try again in a moment.")
        case OperationFailure() if error.code in _AUTH_CODES:
            return Misconfigured("MongoDB refused the login. Check MONGODB_URL.")
        case ConfigurationError() | InvalidURI():
            return _bad_address()
        case PyMongoError():
            return AppError(f"MongoDB refused an operation ({type(error).__name__}).")
        case _:
            return None


def _translate_address_error(error: Exception) -> AppError | None:
    """Map what the driver raises for an address: a bad port is Python's own ValueError."""
    return _bad_address() if isinstance(error, ValueError) else translate_mongo_error(error)


def _bad_address() -> AppError:
    return Misconfigured("MONGODB_URL is not a valid MongoDB address.")


class MongoDB:
    """A pooled connection to one database, bound to the event loop that calls `connect`.

    Create it after any fork. Documents come back with UTC-aware datetimes.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client: AsyncIOMotorClient[Document] | None = None

    async def connect(self) -> None:
        """Open the pool. Returns without waiting for the server: `health_check` does that.

        Raises:
            Misconfigured: `mongodb_url` cannot be parsed.
        """
        with logged_operation("connect to MongoDB", translate=_translate_address_error):
            self._client = AsyncIOMotorClient(
                self._settings.mongodb_url.get_secret_value(),
                maxPoolSize=self._settings.mongodb_max_pool_size,
                minPoolSize=self._settings.mongodb_min_pool_size,
                serverSelectionTimeoutMS=self._settings.mongodb_timeout_ms,
                connectTimeoutMS=self._settings.mongodb_timeout_ms,
                socketTimeoutMS=self._settings.mongodb_timeout_ms * 4,
                # What was acknowledged survives the server being killed, and a change of primary.
                w="majority",
                journal=True,
                tz_aware=True,
                tzinfo=UTC,
                appname="stt-backend",
                io_loop=asyncio.get_running_loop(),
            )

    async def disconnect(self) -> None:
        """Close the pool; harmless when there is none."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def get_collection(self, name: str) -> Collection:
        """Return a collection of the configured database.

        Raises:
            RuntimeError: `connect` has not been called.
        """
        return self._database[name]

    async def health_check(self) -> None:
        """Ask the server for a sign of life.

        Raises:
            DatabaseUnavailable: No answer in `mongodb_timeout_ms` (retryable).
            Misconfigured: The login was refused.
        """
        with logged_operation("ping MongoDB", translate=translate_mongo_error, quiet=True):
            await self._database.command("ping")

    async def server_time(self) -> datetime:
        """Return the server's clock, in UTC.

        Raises:
            DatabaseUnavailable: No answer in `mongodb_timeout_ms` (retryable).
        """
        with logged_operation("ask MongoDB the time", translate=translate_mongo_error, quiet=True):
            answer = await self._client_or_raise().admin.command("hello")
        moment: datetime = answer["localTime"]
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment

    @property
    def _database(self) -> AsyncIOMotorDatabase[Document]:
        return self._client_or_raise()[self._settings.mongodb_database]

    def _client_or_raise(self) -> AsyncIOMotorClient[Document]:
        if self._client is None:
            raise RuntimeError("MongoDB.connect() has not been called")
        return self._client


_current: MongoDB | None = None


async def get_database(settings: Settings | None = None) -> MongoDB:
    """Return this process's connected database, connecting on the first call."""
    global _current
    if _current is None:
        database = MongoDB(settings or load_settings())
        await database.connect()
        _current = database
    return _current


async def close_database() -> None:
    """Close what `get_database` opened."""
    global _current
    if _current is not None:
        await _current.disconnect()
        _current = None
