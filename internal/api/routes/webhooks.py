"""Webhooks: the addresses that hear of the end of tasks, and what was sent to them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Self

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from internal.api.dependencies import OwnerDep, WebhooksDep
from internal.api.forms import LONGEST_URL
from internal.api.responses import errors
from repositories.webhook_models import DeliveryModel, DeliveryState, WebhookModel

router = APIRouter(prefix="/api/v1/webhooks", tags=["webhooks"])

_EXAMPLE_ID = "wh_5b2d3a0c9f3e4a11b7a3c0d2e4f60718"
_UNKNOWN = "There is no such webhook."
_UNKNOWN_DELIVERY = "There is no such webhook, or it has no such delivery."

LimitQuery = Annotated[int, Query(ge=1, le=200)]
CursorQuery = Annotated[
    str | None, Query(description="`next_cursor` of the page before.", max_length=200)
]


class WebhookIn(BaseModel):
    """An address that is to hear of the end of tasks."""

    model_config = ConfigDict(extra="forbid")

    url: str = Field(
        description="http or https, on the public internet.",
        examples=["https://example.org/hooks/transcripts"],
        min_length=1,
        max_length=LONGEST_URL,
    )


class WebhookOut(BaseModel):
    """A webhook, as listed."""

    id: str = Field(examples=[_EXAMPLE_ID])
    url: str
    created_at: datetime
    disabled_at: datetime | None = Field(None, description="Since when nothing is sent to it.")
    disabled_reason: str | None = None

    @classmethod
    def of(cls, webhook: WebhookModel) -> Self:
        """Return an endpoint as its owner sees it."""
        return cls(**webhook.model_dump(include=set(cls.model_fields)))


class WebhookSecretOut(WebhookOut):
    """A webhook with the key that its messages are signed with."""

    secret: str = Field(
        description="For the libraries of Standard Webhooks. Anybody who has it can sign.",
        examples=["whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"],
    )


class WebhookListOut(BaseModel):
    """One page of webhooks, newest first."""

    webhooks: list[WebhookOut]
    next_cursor: str | None = Field(None, description="Pass as `cursor` for the next page.")


class WebhookTestOut(BaseModel):
    """What came of a test."""

    delivery_id: str
    delivered: bool
    status_code: int | None = Field(None, description="Of the answer, if there was one.")
    error: str | None = Field(None, description="Why the message was not taken.")
    duration_ms: float


class DeliveryOut(BaseModel):
    """A message to a webhook, and what became of it."""

    id: str = Field(description="Sent along as `webhook-id`.")
    type: str = Field(examples=["task.completed"])
    task_id: str | None = Field(None, description="None for a test.")
    state: DeliveryState
    attempts: int
    created_at: datetime
    attempted_at: datetime | None = Field(None, description="When it was last sent.")
    next_attempt_at: datetime | None = Field(None, description="While it is open.")
    status_code: int | None = Field(None, description="Of the last answer, if there was one.")
    error: str | None = Field(None, description="Why the last attempt failed.")

    @classmethod
    def of(cls, delivery: DeliveryModel) -> Self:
        """Return a delivery as its owner sees it."""
        due = max(delivery.not_before, delivery.created_at)
        return cls(
            id=delivery.id,
            type=delivery.type,
            task_id=delivery.job_id,
            state=delivery.state,
            attempts=delivery.attempts,
            created_at=delivery.created_at,
            attempted_at=delivery.attempted_at,
            next_attempt_at=due if delivery.state is DeliveryState.OPEN else None,
            status_code=delivery.last_status,
            error=delivery.last_error,
        )


class DeliveryListOut(BaseModel):
    """One page of deliveries, newest first."""

    deliveries: list[DeliveryOut]
    next_cursor: str | None = Field(None, description="Pass as `cursor` for the next page.")


@router.post(
    "",
    status_code=201,
    summary="Register a webhook",
    responses=errors(422, 503, status_422="Nothing can or may be sent to this address."),
)
async def register_webhook(
    asked: WebhookIn, request: Request, response: Response, webhooks: WebhooksDep, owner: OwnerDep
) -> WebhookSecretOut:
    """Return the webhook of an address, with the secret that its messages are signed with.

    Registering an address again returns the webhook that there is; one that was disabled is in use
    again. Uploads with `webhook_url` register theirs by themselves.
    """
    webhook = await webhooks.register(owner, asked.url)
    response.headers["Location"] = request.url_for("get_webhook", webhook_id=webhook.id).path
    return WebhookSecretOut.of(webhook)


@router.get("", summary="List webhooks", responses=errors(422, 503))
async def list_webhooks(
    webhooks: WebhooksDep, owner: OwnerDep, limit: LimitQuery = 50, cursor: CursorQuery = None
) -> WebhookListOut:
    """Return webhooks, newest first, without their secrets."""
    page = await webhooks.list_webhooks(owner, limit=limit, cursor=cursor)
    found = [WebhookOut.of(webhook) for webhook in page.items]
    return WebhookListOut(webhooks=found, next_cursor=page.next_cursor)


@router.get(
    "/{webhook_id}",
    summary="A webhook",
    responses=errors(404, 503, status_404=_UNKNOWN),
)
async def get_webhook(webhook_id: str, webhooks: WebhooksDep, owner: OwnerDep) -> WebhookOut:
    """Return a webhook without its secret: who may only read must not be able to sign."""
    return WebhookOut.of(await webhooks.get(owner, webhook_id))


@router.delete(
    "/{webhook_id}",
    status_code=204,
    summary="Delete a webhook",
    responses=errors(404, 503, status_404=_UNKNOWN),
)
async def delete_webhook(webhook_id: str, webhooks: WebhooksDep, owner: OwnerDep) -> None:
    """Remove a webhook with its log. What is still to be sent to it is not sent."""
    await webhooks.delete(owner, webhook_id)


@router.post(
    "/{webhook_id}/test",
    summary="Send a test",
    responses=errors(404, 503, status_404=_UNKNOWN),
)
async def test_webhook(webhook_id: str, webhooks: WebhooksDep, owner: OwnerDep) -> WebhookTestOut:
    """Send a signed message of the type `webhook.test` now, once, and return what came of it."""
    delivery, outcome = await webhooks.send_test(owner, webhook_id)
    return WebhookTestOut(
        delivery_id=delivery.id,
        delivered=outcome.is_delivered,
        status_code=outcome.status,
        error=outcome.error,
        duration_ms=outcome.duration_ms,
    )


@router.get(
    "/{webhook_id}/deliveries",
    summary="What was sent to a webhook",
    responses=errors(404, 422, 503, status_404=_UNKNOWN),
)
async def list_deliveries(
    webhook_id: str,
    webhooks: WebhooksDep,
    owner: OwnerDep,
    limit: LimitQuery = 50,
    cursor: CursorQuery = None,
) -> DeliveryListOut:
    """Return the messages of the last 30 days and what became of them, newest first."""
    page = await webhooks.list_deliveries(owner, webhook_id, limit=limit, cursor=cursor)
    found = [DeliveryOut.of(delivery) for delivery in page.items]
    return DeliveryListOut(deliveries=found, next_cursor=page.next_cursor)


@router.post(
    "/{webhook_id}/deliveries/{delivery_id}/retry",
    status_code=202,
    summary="Send a message again",
    responses=errors(
        404,
        409,
        503,
        status_404=_UNKNOWN_DELIVERY,
        status_409="It is being sent at this moment, or the webhook is disabled.",
    ),
)
async def retry_delivery(
    webhook_id: str, delivery_id: str, webhooks: WebhooksDep, owner: OwnerDep
) -> DeliveryOut:
    """Send a message now, whatever became of it, with all its attempts before it again."""
    return DeliveryOut.of(await webhooks.retry(owner, webhook_id, delivery_id))
