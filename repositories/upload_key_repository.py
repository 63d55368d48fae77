"""Queries over the Idempotency-Keys of uploads: each is claimed once, by compare-and-set."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from core.clock import utc_now
from core.database import MongoDB, translate_mongo_error
from core.errors import Conflict
from core.logger import logged_operation
from repositories.models import UploadKey, to_milliseconds


class UploadKeyRepository:
    """The `upload_keys` collection.

    Every method may raise `DatabaseUnavailable` (retryable).
    """

    def __init__(self, database: MongoDB) -> None:
        self._keys = database.get_collection("upload_keys")

    async def ensure_indexes(self) -> None:
        """Create the indexes that the queries below use; existing ones stay."""
        with _operation("create upload key indexes"):
            await self._keys.create_index([("expires_at", 1)])

    async def claim(self, key: UploadKey) -> UploadKey | None:
        """Take a key that nobody has used, or return how it is used."""
        try:
            with _operation("claim upload key"):
                await self._keys.insert_one(key.to_dict())
        except Conflict:
            return await self.get(key.id) or await self.claim(key)
        return None

    async def get(self, key_id: str) -> UploadKey | None:
        """Return a key, None if it is not in use."""
        with _operation("find upload key"):
            document = await self._keys.find_one({"_id": key_id})
        return None if document is None else UploadKey.from_dict(document)

    async def take_over(self, seen: UploadKey, key: UploadKey) -> bool:
        """Take a key from `seen`, whose upload came to nothing; one of several gets True."""
        document = key.to_dict()
        del document["_id"]
        with _operation("take over upload key"):
            result = await self._keys.update_one(
                {"_id": seen.id, "holder": seen.holder}, {"$set": document}
            )
        return result.matched_count == 1

    async def renew(self, key: UploadKey, lease_seconds: float) -> None:
        """Keep a key while its upload goes on."""
        until = to_milliseconds(utc_now() + timedelta(seconds=lease_seconds))
        with _operation("renew upload key"):
            await self._keys.update_one(
                {"_id": key.id, "holder": key.holder}, {"$set": {"lease_until": until}}
            )

    async def release(self, key: UploadKey) -> None:
        """Forget a key whose upload came to nothing."""
        with _operation("release upload key"):
            await self._keys.delete_one({"_id": key.id, "holder": key.holder})

    async def delete_expired(self) -> int:
        """Forget the keys whose time is over; returns how many there were."""
        with _operation("delete expired upload keys"):
            query = {"expires_at": {"$lt": to_milliseconds(utc_now())}}
            result = await self._keys.delete_many(query)
        return int(result.deleted_count)


def _operation(name: str) -> Any:
    return logged_operation(name, translate=translate_mongo_error, quiet=True)
