"""Queries over API keys. A key is never removed: one that was revoked stays on the list as such."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from core.clock import utc_now
from core.database import MongoDB, translate_mongo_error
from core.logger import logged_operation
from repositories.api_key_models import ApiKey
from repositories.document import to_milliseconds


class ApiKeyRepository:
    """The `api_keys` collection.

    Every method may raise `DatabaseUnavailable` (retryable).
    """

    def __init__(self, database: MongoDB) -> None:
        self._keys = database.get_collection("api_keys")

    async def ensure_indexes(self) -> None:
        """Create the indexes that the queries below use; existing ones stay."""
        with _operation("create API key indexes"):
            await self._keys.create_index([("revoked_at", 1)])

    async def add(self, key: ApiKey) -> None:
        """Store a new key.

        Raises:
            Conflict: There is one with this id.
        """
        with _operation("store API key"):
            await self._keys.insert_one(key.to_dict())

    async def get(self, key_id: str) -> ApiKey | None:
        """Return a key, revoked or not; None if there never was one with this id."""
        with _operation("find API key"):
            document = await self._keys.find_one({"_id": key_id})
        return None if document is None else ApiKey.from_dict(document)

    async def list_keys(self) -> list[ApiKey]:
        """Return all keys, revoked ones included, oldest first."""
        with _operation("list API keys"):
            documents = await self._keys.find().sort("created_at", 1).to_list(None)
        return [ApiKey.from_dict(document) for document in documents]

    async def has_valid(self) -> bool:
        """Return whether there is a key that has not been revoked."""
        with _operation("look for valid API keys"):
            return await self._keys.find_one({"revoked_at": None}) is not None

    async def note_use(self, key_id: str, moment: datetime) -> None:
        """Write down when a key was used last."""
        with _operation("note use of API key"):
            await self._keys.update_one(
                {"_id": key_id}, {"$set": {"last_used_at": to_milliseconds(moment)}}
            )

    async def revoke(self, key_id: str) -> ApiKey | None:
        """Make a key invalid for ever, and return it; None if there is none.

        One that has been revoked before keeps the time of that.
        """
        with _operation("revoke API key"):
            await self._keys.update_one(
                {"_id": key_id, "revoked_at": None},
                {"$set": {"revoked_at": to_milliseconds(utc_now())}},
            )
        return await self.get(key_id)


def _operation(name: str) -> Any:
    return logged_operation(name, translate=translate_mongo_error, quiet=True)
