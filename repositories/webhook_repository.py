"""Queries over webhook endpoints."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from typing import Any

from core.database import MongoDB, translate_mongo_error
from core.errors import Conflict, NotFound
from core.logger import logged_operation
from repositories.document import to_milliseconds
from repositories.paging import Page, find_page
from repositories.webhook_models import WebhookModel


class WebhookRepository:
    """The `webhooks` collection.

    Every method may raise `DatabaseUnavailable` (retryable).
    """

    def __init__(self, database: MongoDB) -> None:
        self._webhooks = database.get_collection("webhooks")

    async def ensure_indexes(self) -> None:
        """Create the indexes that the queries below use; existing ones stay."""
        with _operation("create webhook indexes"):
            await self._webhooks.create_index([("owner", 1), ("created_at", -1)])

    async def register(self, webhook: WebhookModel) -> WebhookModel:
        """Add an endpoint, or return the one with its id, in use again if it was not."""
        while (found := await self._enable(webhook.id)) is None:
            with suppress(Conflict), _operation("insert webhook"):
                await self._webhooks.insert_one(webhook.to_dict())
                return webhook
        return found

    async def get(self, webhook_id: str) -> WebhookModel | None:
        """Return an endpoint, None if there is none."""
        return await self._find({"_id": webhook_id})

    async def require(self, webhook_id: str, owner: str) -> WebhookModel:
        """Return an owner's endpoint.

        Raises:
            NotFound: There is none, or it belongs to somebody else.
        """
        webhook = await self._find({"_id": webhook_id, "owner": owner})
        if webhook is None:
            raise NotFound(
                "There is no webhook with this id. It may have been deleted.",
                code="webhook_not_found",
            )
        return webhook

    async def list_webhooks(
        self, owner: str, *, limit: int, cursor: str | None
    ) -> Page[WebhookModel]:
        """Return one page of an owner's endpoints, newest first.

        Raises:
            InvalidInput: The cursor is not one that this method returned.
        """
        query = {"owner": {"$eq": owner}}
        with _operation("list webhooks"):
            return await find_page(self._webhooks, WebhookModel, query, limit=limit, cursor=cursor)

    async def disable(self, webhook_id: str, at: datetime, reason: str) -> None:
        """Send nothing more to an endpoint; one that is disabled already stays as it is."""
        changes = {"disabled_at": to_milliseconds(at), "disabled_reason": reason}
        with _operation("disable webhook"):
            await self._webhooks.update_one(
                {"_id": webhook_id, "disabled_at": None}, {"$set": changes}
            )

    async def delete(self, webhook_id: str) -> None:
        """Remove an endpoint."""
        with _operation("delete webhook"):
            await self._webhooks.delete_one({"_id": webhook_id})

    async def _enable(self, webhook_id: str) -> WebhookModel | None:
        changes = {"disabled_at": None, "disabled_reason": None}
        with _operation("enable webhook"):
            document = await self._webhooks.find_one_and_update(
                {"_id": webhook_id}, {"$set": changes}, return_document=True
            )
        return None if document is None else WebhookModel.from_dict(document)

    async def _find(self, query: dict[str, Any]) -> WebhookModel | None:
        with _operation("find webhook"):
            document = await self._webhooks.find_one(query)
        return None if document is None else WebhookModel.from_dict(document)


def _operation(name: str) -> Any:
    return logged_operation(name, translate=translate_mongo_error, quiet=True)
