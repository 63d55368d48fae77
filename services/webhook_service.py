"""Webhooks: the endpoints that clients name, and the log of what was sent to them."""

from __future__ import annotations

import base64
import hashlib
import secrets
import uuid
from datetime import timedelta

from core.clock import utc_now
from core.errors import Conflict, InvalidInput, Unreachable
from core.logger import bound, logged_operation
from core.outgoing import OutgoingClient
from repositories.delivery_repository import DeliveryRepository
from repositories.paging import Page
from repositories.webhook_models import DeliveryModel, DeliveryState, WebhookModel
from repositories.webhook_repository import WebhookRepository
from services.webhook_sender import Outcome, WebhookSender, message

# Long enough for a fault to be looked into, and longer than any delivery is tried for.
KEPT = timedelta(days=30)
TEST_EVENT = "webhook.test"
# The scheme asks for 24 to 64.
_SECRET_BYTES = 32


class WebhookService:
    """The use cases behind the routes about webhooks.

    Every method may raise `DatabaseUnavailable` (retryable). An endpoint of another owner is one
    that does not exist (`NotFound`).
    """

    def __init__(
        self,
        webhooks: WebhookRepository,
        deliveries: DeliveryRepository,
        client: OutgoingClient,
    ) -> None:
        self._webhooks = webhooks
        self._deliveries = deliveries
        self._client = client
        self._sender = WebhookSender(client)

    async def register(self, owner: str, url: str) -> WebhookModel:
        """Return the endpoint of a URL: a new one, or the one that there is, in use again.

        Raises:
            InvalidInput: Messages would not be sent there (codes `url_invalid`, `url_not_allowed`,
                `url_unreachable`).
        """
        with logged_operation("register webhook"):
            try:
                await self._client.check(url)
            except Unreachable as error:
                # Here it is rather a mistake in writing than a fault of the moment.
                raise InvalidInput(
                    "The webhook's server cannot be found: its name has no address.",
                    code=error.error_code,
                ) from error
            new = WebhookModel(
                id=_webhook_id(owner, url), owner=owner, url=url, secret=_new_secret()
            )
            return await self._webhooks.register(new)

    async def get(self, owner: str, webhook_id: str) -> WebhookModel:
        """Return an endpoint.

        Raises:
            NotFound: There is no such endpoint.
        """
        return await self._webhooks.require(webhook_id, owner)

    async def list_webhooks(
        self, owner: str, *, limit: int, cursor: str | None
    ) -> Page[WebhookModel]:
        """Return one page of an owner's endpoints, newest first."""
        return await self._webhooks.list_webhooks(owner, limit=limit, cursor=cursor)

    async def delete(self, owner: str, webhook_id: str) -> None:
        """Remove an endpoint, what is still to be sent to it, and its log.

        Raises:
            NotFound: There is no such endpoint.
        """
        await self._webhooks.require(webhook_id, owner)
        with logged_operation("delete webhook", webhook_id=webhook_id):
            await self._webhooks.delete(webhook_id)
            await self._deliveries.delete_of(webhook_id)

    async def send_test(self, owner: str, webhook_id: str) -> tuple[DeliveryModel, Outcome]:
        """Send a message to an endpoint now, once, even if it is disabled; the log keeps it.

        Raises:
            NotFound: There is no such endpoint.
        """
        webhook = await self._webhooks.require(webhook_id, owner)
        now = utc_now()
        delivery = DeliveryModel(
            id=f"msg_{uuid.uuid4().hex}",
            owner=owner,
            webhook_id=webhook_id,
            type=TEST_EVENT,
            body=message(TEST_EVENT, now, {"webhook_id": webhook_id}),
            attempts=1,
            attempted_at=now,
            expires_at=now + KEPT,
        )
        with bound(webhook_id=webhook_id), logged_operation("test webhook"):
            outcome = await self._sender.send(webhook, delivery.id, delivery.body)
            delivery.state = (
                DeliveryState.DELIVERED if outcome.is_delivered else DeliveryState.FAILED
            )
            delivery.last_status, delivery.last_error = outcome.status, outcome.error
            await self._deliveries.add(delivery)
        return delivery, outcome

    async def list_deliveries(
        self, owner: str, webhook_id: str, *, limit: int, cursor: str | None
    ) -> Page[DeliveryModel]:
        """Return one page of what was and is to be sent to an endpoint, newest first.

        Raises:
            NotFound: There is no such endpoint.
        """
        await self._webhooks.require(webhook_id, owner)
        return await self._deliveries.list_deliveries(webhook_id, limit=limit, cursor=cursor)

    async def retry(self, owner: str, webhook_id: str, delivery_id: str) -> DeliveryModel:
        """Send a message again, or sooner, whatever became of it.

        Raises:
            NotFound: There is no such endpoint, or it has no such delivery.
            Conflict: It is being sent (code `delivery_in_progress`), or the endpoint is disabled
                (code `webhook_disabled`).
        """
        webhook = await self._webhooks.require(webhook_id, owner)
        if webhook.disabled_at is not None:
            raise Conflict(
                "The webhook is disabled. Register its URL again first.", code="webhook_disabled"
            )
        delivery = await self._deliveries.require(delivery_id, webhook_id)
        if not await self._deliveries.reopen(delivery):
            raise Conflict(
                "The delivery is being sent at this moment. Look at it again in half a minute.",
                code="delivery_in_progress",
            )
        return await self._deliveries.require(delivery_id, webhook_id)


def _webhook_id(owner: str, url: str) -> str:
    return "wh_" + hashlib.sha256(f"{owner}\n{url}".encode()).hexdigest()[:32]


def _new_secret() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()
