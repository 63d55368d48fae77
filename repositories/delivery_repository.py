"""Queries over messages to webhook endpoints: those still to be sent, and the log of the others.

A delivery is claimed by compare-and-set under a lease. Whoever holds it names the claim's token
when it records what came of it (the fence); if it vanishes, the end of the lease makes the
delivery due again.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

from core.clock import utc_now
from core.database import MongoDB, translate_mongo_error
from core.errors import Conflict, NotFound
from core.logger import logged_operation
from repositories.document import EPOCH, to_milliseconds
from repositories.paging import Page, find_page
from repositories.webhook_models import DeliveryModel, DeliveryState

_FREE: dict[str, Any] = {"holder": None, "lease_until": to_milliseconds(EPOCH)}


class DeliveryRepository:
    """The `deliveries` collection.

    Every method may raise `DatabaseUnavailable` (retryable).
    """

    def __init__(self, database: MongoDB) -> None:
        self._deliveries = database.get_collection("deliveries")

    async def ensure_indexes(self) -> None:
        """Create the indexes that the queries below use; existing ones stay."""
        with _operation("create delivery indexes"):
            await self._deliveries.create_index([("state", 1), ("not_before", 1)])
            await self._deliveries.create_index([("webhook_id", 1), ("created_at", -1)])
            await self._deliveries.create_index([("expires_at", 1)])

    async def add(self, delivery: DeliveryModel) -> bool:
        """Add a delivery; False if there is one with its id, which stays as it is."""
        try:
            with _operation("insert delivery"):
                await self._deliveries.insert_one(delivery.to_dict())
        except Conflict:
            return False
        return True

    async def claim(
        self, lease_seconds: float, *, not_of: Collection[str] = ()
    ) -> DeliveryModel | None:
        """Take the delivery that has been due for longest, None if none is.

        Args:
            lease_seconds: After this time others may take it.
            not_of: Owners who have to wait.
        """
        now = utc_now()
        query: dict[str, Any] = {
            "state": DeliveryState.OPEN.value,
            "not_before": {"$lte": to_milliseconds(now)},
            "lease_until": {"$lte": to_milliseconds(now)},
        }
        if not_of:
            query["owner"] = {"$nin": list(not_of)}
        changes = {
            "$set": {
                "holder": uuid.uuid4().hex,
                "lease_until": to_milliseconds(now + timedelta(seconds=lease_seconds)),
                "attempted_at": to_milliseconds(now),
            },
            "$inc": {"attempts": 1},
        }
        with _operation("claim delivery"):
            document = await self._deliveries.find_one_and_update(
                query, changes, sort=[("not_before", 1), ("_id", 1)], return_document=True
            )
        return None if document is None else DeliveryModel.from_dict(document)

    async def record(
        self,
        delivery: DeliveryModel,
        state: DeliveryState,
        *,
        status: int | None,
        error: str | None,
        not_before: datetime = EPOCH,
    ) -> bool:
        """Record what came of an attempt, and give the delivery back.

        Args:
            delivery: As claimed.
            state: Open, for another attempt, or where it ends.
            status: The answer's HTTP status, if there was one.
            error: Why it failed.
            not_before: Of another attempt.

        Returns:
            Whether the delivery was still ours, and there.
        """
        changes = _FREE | {
            "state": state.value,
            "last_status": status,
            "last_error": error,
            "not_before": to_milliseconds(not_before),
        }
        with _operation("record delivery"):
            result = await self._deliveries.update_one(
                {"_id": delivery.id, "holder": delivery.holder}, {"$set": changes}
            )
        return result.matched_count == 1

    async def reopen(self, delivery: DeliveryModel) -> bool:
        """Make a delivery due at once, with all its attempts before it; False while it is sent."""
        changes = _FREE | {
            "state": DeliveryState.OPEN.value,
            "attempts": 0,
            "not_before": to_milliseconds(utc_now()),
        }
        with _operation("reopen delivery"):
            result = await self._deliveries.update_one(
                {"_id": delivery.id, "lease_until": {"$lte": to_milliseconds(utc_now())}},
                {"$set": changes},
            )
        return result.matched_count == 1

    async def require(self, delivery_id: str, webhook_id: str) -> DeliveryModel:
        """Return an endpoint's delivery.

        Raises:
            NotFound: There is none.
        """
        with _operation("find delivery"):
            document = await self._deliveries.find_one(
                {"_id": delivery_id, "webhook_id": webhook_id}
            )
        if document is None:
            raise NotFound(
                "This webhook has no delivery with this id. They are kept for 30 days.",
                code="delivery_not_found",
            )
        return DeliveryModel.from_dict(document)

    async def list_deliveries(
        self, webhook_id: str, *, limit: int, cursor: str | None
    ) -> Page[DeliveryModel]:
        """Return one page of what was or is to be sent to an endpoint, newest first.

        Raises:
            InvalidInput: The cursor is not one that this method returned.
        """
        query = {"webhook_id": {"$eq": webhook_id}}
        with _operation("list deliveries"):
            return await find_page(
                self._deliveries, DeliveryModel, query, limit=limit, cursor=cursor
            )

    async def delete_of(self, webhook_id: str) -> None:
        """Forget all that was or is to be sent to an endpoint."""
        with _operation("delete deliveries"):
            await self._deliveries.delete_many({"webhook_id": webhook_id})

    async def delete_expired(self) -> int:
        """Forget those that have been kept for long enough; returns how many there were."""
        query = {"expires_at": {"$lt": to_milliseconds(utc_now())}}
        with _operation("delete expired deliveries"):
            result = await self._deliveries.delete_many(query)
        return int(result.deleted_count)


def _operation(name: str) -> Any:
    return logged_operation(name, translate=translate_mongo_error, quiet=True)
