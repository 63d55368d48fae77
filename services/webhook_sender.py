"""Sending one message to an endpoint, signed by the Standard Webhooks scheme.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from standardwebhooks import Webhook

from core.clock import utc_now
from core.errors import InvalidInput, Unreachable
from core.logger import logged_operation
from core.outgoing import OutgoingClient
from repositories.webhook_models import WebhookModel

# Until the answer begins, and for everything from the look-up of the name on: one that sends its
# answer a byte at a time must not take for ever.
_READ_SECONDS = 10.0
_ALL_SECONDS = 25.0
_USER_AGENT = "stt-backend-webhooks/1"


@dataclass(frozen=True)
class Outcome:
    """What came of sending a message.

    Attributes:
        status: HTTP status of the answer, None if there was none.
        error: Why it was not taken, as a sentence for the endpoint's owner; None if it was.
        duration_ms: How long it took.
        retry_after_seconds: How long the endpoint asks to be left alone, if it does.
    """

    status: int | None
    error: str | None
    duration_ms: float
    retry_after_seconds: float | None = None

    @property
    def is_delivered(self) -> bool:
        """Whether the endpoint has taken it."""
        return self.error is None


class WebhookSender:
    """Sends messages."""

    def __init__(self, client: OutgoingClient) -> None:
        self._client = client

    async def send(self, webhook: WebhookModel, message_id: str, body: str) -> Outcome:
        """Send a message once. Whatever goes wrong out there is an outcome, not an error.

        Args:
            webhook: To whom.
            message_id: The same at each attempt, for the receiver to know it again.
            body: The exact text.
        """
        started = time.perf_counter()
        status, error, after = None, None, None
        try:
            with logged_operation("send webhook", translate=_too_slow, quiet=True):
                async with asyncio.timeout(_ALL_SECONDS):
                    status, after = await self._post(webhook, message_id, body)
        except (InvalidInput, Unreachable) as failure:
            error = failure.message
        if status is not None and not 200 <= status < 300:
            error = _refusal(status)
        duration_ms = round((time.perf_counter() - started) * 1000, 1)
        return Outcome(status, error, duration_ms, after)

    async def _post(
        self, webhook: WebhookModel, message_id: str, body: str
    ) -> tuple[int, float | None]:
        now = utc_now()
        headers = {
            "Content-Type": "application/json",
            "User-Agent": _USER_AGENT,
            "webhook-id": message_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": Webhook(webhook.secret).sign(message_id, now, body),
        }
        async with self._client.stream(
            "POST", webhook.url, headers=headers, content=body.encode(), read_seconds=_READ_SECONDS
        ) as response:
            # Its body is not read: there is nothing in it that we want.
            after = response.headers.get("Retry-After", "")
            return response.status_code, float(after) if _is_number(after) else None


def message(event_type: str, at: datetime, data: dict[str, Any]) -> str:
    """Return the text of a message: what is signed, and sent as it is.

    Args:
        event_type: What happened, such as `task.completed`.
        at: When.
        data: Facts about it: values of JSON, and moments in UTC.
    """
    return json.dumps({"type": event_type, "timestamp": at, "data": data}, default=_moment)


def _moment(value: datetime) -> str:
    return value.isoformat().replace("+00:00", "Z")


def _too_slow(error: Exception) -> Unreachable | None:
    if isinstance(error, TimeoutError):
        return Unreachable(f"The server did not answer within {_ALL_SECONDS:g} seconds.")
    return None


def _refusal(status: int) -> str:
    if 300 <= status < 400:
        return f"The server answered {status}, a redirect, and those are not followed."
    return f"The server answered {status}."


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 9
