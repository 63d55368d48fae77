"""Queries over direct uploads: recordings that clients may put into the object store."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

from core.clock import utc_now
from core.database import MongoDB, translate_mongo_error
from core.logger import logged_operation
from repositories.counting import count
from repositories.document import Document, Moment, to_milliseconds

_IDS_AT_ONCE = 1000


class DirectUpload(Document):
    """A recording that a client may put into the store, and of which no task has been made yet.

    Attributes:
        id: Also that of the task that it may become, so that it lies where that looks for it.
        owner: Whose task that will be.
        file_name: To be shown.
        size_bytes: As announced.
        token_hash: SHA-256 of what stands in an address of ours, hex; None where the store has
            addresses of its own.
        expires_at: Until when it can be put, and become a task.
    """

    id: str
    owner: str
    file_name: str
    size_bytes: int
    token_hash: str | None = None
    expires_at: Moment


class DirectUploadRepository:
    """The `direct_uploads` collection.

    Every method may raise `DatabaseUnavailable` (retryable).
    """

    def __init__(self, database: MongoDB) -> None:
        self._uploads = database.get_collection("direct_uploads")

    async def ensure_indexes(self) -> None:
        """Create the indexes that the queries below use; existing ones stay."""
        with _operation("create direct upload indexes"):
            await self._uploads.create_index([("owner", 1)])
            await self._uploads.create_index([("expires_at", 1)])

    async def add(self, upload: DirectUpload) -> None:
        """Remember an upload."""
        with _operation("insert direct upload"):
            await self._uploads.insert_one(upload.to_dict())

    async def get(self, upload_id: str) -> DirectUpload | None:
        """Return an upload that can still be used, None if there is none."""
        query = {"_id": upload_id, "expires_at": {"$gt": to_milliseconds(utc_now())}}
        with _operation("find direct upload"):
            document = await self._uploads.find_one(query)
        return None if document is None else DirectUpload.from_dict(document)

    async def count_of(self, owner: str) -> int:
        """Return how many uploads an owner may still make tasks of."""
        query = {"owner": owner, "expires_at": {"$gt": to_milliseconds(utc_now())}}
        with _operation("count direct uploads"):
            return await count(self._uploads, query)

    async def known_of(self, upload_ids: Collection[str]) -> set[str]:
        """Return those of these ids that an upload has."""
        known: set[str] = set()
        ids = list(upload_ids)
        with _operation("find direct uploads"):
            for at in range(0, len(ids), _IDS_AT_ONCE):
                some = ids[at : at + _IDS_AT_ONCE]
                cursor = self._uploads.find({"_id": {"$in": some}}, {"_id": 1})
                known |= {document["_id"] async for document in cursor}
        return known

    async def delete(self, upload_id: str) -> None:
        """Forget an upload, which has become a task."""
        with _operation("delete direct upload"):
            await self._uploads.delete_one({"_id": upload_id})

    async def delete_expired(self, before: datetime) -> int:
        """Forget the uploads whose time was over then; returns how many there were."""
        with _operation("delete expired direct uploads"):
            query = {"expires_at": {"$lt": to_milliseconds(before)}}
            result = await self._uploads.delete_many(query)
        return int(result.deleted_count)


def _operation(name: str) -> Any:
    return logged_operation(name, translate=translate_mongo_error, quiet=True)
