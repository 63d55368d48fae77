"""Whose turn it is to do what one process is enough for."""

from __future__ import annotations

from datetime import timedelta

from core.clock import utc_now
from core.database import MongoDB, translate_mongo_error
from core.errors import Conflict
from core.logger import logged_operation
from repositories.models import to_milliseconds


class TurnRepository:
    """The `turns` collection: a document for each recurring task, with when it is due again.

    Every method may raise `DatabaseUnavailable` (retryable).
    """

    def __init__(self, database: MongoDB) -> None:
        self._turns = database.get_collection("turns")

    async def take(self, name: str, every_seconds: float) -> bool:
        """Return whether a task is due and ours: of all who ask, one gets True each time."""
        now = utc_now()
        due_again = to_milliseconds(now + timedelta(seconds=every_seconds))
        try:
            with logged_operation("take turn", translate=translate_mongo_error, quiet=True):
                result = await self._turns.update_one(
                    {"_id": name, "due_at": {"$lte": to_milliseconds(now)}},
                    {"$set": {"due_at": due_again}},
                )
                if result.matched_count == 1:
                    return True
                if await self._turns.find_one({"_id": name}) is not None:
                    return False
                await self._turns.insert_one({"_id": name, "due_at": due_again})
        except Conflict:  # another has just inserted it
            return False
        return True
