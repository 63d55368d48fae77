"""The documents of webhooks: endpoints, and the messages that are sent to them."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from core.clock import utc_now
from repositories.document import EPOCH, Document, Moment


class DeliveryState(StrEnum):
    """Where telling an endpoint of an event stands."""

    OPEN = "open"
    DELIVERED = "delivered"
    FAILED = "failed"


class WebhookModel(Document):
    """An address of a client's server, which hears of the end of the tasks that name it.

    Attributes:
        id: Derived from owner and URL, so that registering it twice registers it once.
        owner: Whose.
        url: May hold secrets: it is not logged, and only shown to its owner.
        secret: `whsec_` and base64 of the key that messages are signed with.
        disabled_at: Since when nothing is sent to it; None while it is in use.
        disabled_reason: Why, for its owner.
    """

    id: str
    owner: str
    url: str
    secret: str
    created_at: Moment = Field(default_factory=utc_now)
    disabled_at: Moment | None = None
    disabled_reason: str | None = None


class DeliveryModel(Document):
    """A message to an endpoint, and what became of it.

    Attributes:
        id: Sent along as `webhook-id`, the same at each attempt. Derived from what happened, so
            that adding it twice adds it once.
        job_id: Whose end it tells; None for a test.
        type: Of the event.
        body: The exact text that is signed and sent.
        attempts: How often it was begun to be sent.
        not_before: While open: when it is due.
        holder: Token of the process that sends it now (the fence); None while nobody does.
        lease_until: After this the holder counts as gone.
        attempted_at: When it was last sent.
        last_status: HTTP status of the last answer; None if there was none.
        last_error: Why the last attempt failed, for the endpoint's owner.
        expires_at: When it is forgotten.
    """

    id: str
    owner: str
    webhook_id: str
    job_id: str | None = None
    type: str
    body: str
    created_at: Moment = Field(default_factory=utc_now)
    state: DeliveryState = DeliveryState.OPEN
    attempts: int = 0
    not_before: Moment = EPOCH
    holder: str | None = None
    lease_until: Moment = EPOCH
    attempted_at: Moment | None = None
    last_status: int | None = None
    last_error: str | None = None
    expires_at: Moment
