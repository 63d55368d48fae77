"""Sending what is due to webhook endpoints, again and again until they take it."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from datetime import timedelta

from core.clock import utc_now
from core.config import Settings
from core.errors import AppError
from core.logger import bound, logger
from repositories.delivery_repository import DeliveryRepository
from repositories.webhook_models import DeliveryModel, DeliveryState, WebhookModel
from repositories.webhook_repository import WebhookRepository
from services.webhook_sender import Outcome, WebhookSender

# The schedule that Standard Webhooks recommends; after the last, the last again and again.
_MINUTE, _HOUR = 60.0, 3600.0
_PAUSES_SECONDS = (5.0, 5 * _MINUTE, 30 * _MINUTE, 2 * _HOUR, 5 * _HOUR, 10 * _HOUR)
_JITTER = 0.2
_LONGEST_PAUSE_SECONDS = 24 * _HOUR
# Longer than sending takes at most (`services.webhook_sender`).
_LEASE_SECONDS = 40.0
_MOST_AT_ONCE = 16
# Of one owner: slow endpoints of one must not hold up the others'.
_MOST_AT_ONCE_OF_ONE = 4
_GONE = 410
# Refusals that may be other the next time; all others of the kind 4xx are final.
_PASSING = frozenset({408, 409, 425, 429})


class DeliveryService:
    """Sends deliveries: at least once each, whatever happens to the processes that do it."""

    def __init__(
        self,
        settings: Settings,
        webhooks: WebhookRepository,
        deliveries: DeliveryRepository,
        sender: WebhookSender,
    ) -> None:
        self._settings = settings
        self._webhooks = webhooks
        self._deliveries = deliveries
        self._sender = sender
        self._sending: set[asyncio.Task[None]] = set()
        self._by_owner: Counter[str] = Counter()

    async def begin(self) -> None:
        """Begin to send what is due, as much as may be sent at once, and do not wait for it.

        Raises:
            DatabaseUnavailable: MongoDB cannot be reached (retryable).
        """
        while len(self._sending) < _MOST_AT_ONCE:
            busy = [own for own, count in self._by_owner.items() if count >= _MOST_AT_ONCE_OF_ONE]
            delivery = await self._deliveries.claim(_LEASE_SECONDS, not_of=busy)
            if delivery is None:
                return
            self._by_owner[delivery.owner] += 1
            task = asyncio.create_task(self._deliver(delivery))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    async def finish(self) -> None:
        """Wait for what was begun."""
        await asyncio.gather(*self._sending)

    async def _deliver(self, delivery: DeliveryModel) -> None:
        with bound(message_id=delivery.id, webhook_id=delivery.webhook_id):
            try:
                await self._attempt(delivery)
            except AppError as error:
                logger.warning("a webhook is sent again later: {}", error.message)
            except Exception:  # noqa: BLE001 - its lease ends, and it is tried again
                logger.opt(exception=True).error("sending a webhook failed")
            finally:
                self._by_owner -= Counter([delivery.owner])

    async def _attempt(self, delivery: DeliveryModel) -> None:
        webhook = await self._webhooks.get(delivery.webhook_id)
        if webhook is None:  # deleted a moment ago, and with it its deliveries but this
            await self._deliveries.delete_of(delivery.webhook_id)
        elif webhook.disabled_at is not None:
            await self._end(delivery, Outcome(None, "The webhook is disabled.", 0.0))
        else:
            outcome = await self._sender.send(webhook, delivery.id, delivery.body)
            await self._record(webhook, delivery, outcome)

    async def _record(
        self, webhook: WebhookModel, delivery: DeliveryModel, outcome: Outcome
    ) -> None:
        if outcome.status == _GONE:
            logger.warning("an endpoint is gone (410): it is disabled")
            await self._webhooks.disable(webhook.id, utc_now(), "It answered 410 (Gone).")
        is_last = delivery.attempts >= self._settings.webhook_max_attempts
        if outcome.is_delivered or is_last or _is_final(outcome.status):
            await self._end(delivery, outcome)
            return
        seconds = _pause_seconds(delivery.attempts, outcome.retry_after_seconds)
        logger.warning("a webhook was not taken ({}): again in {:.0f} s", outcome.error, seconds)
        await self._deliveries.record(
            delivery,
            DeliveryState.OPEN,
            status=outcome.status,
            error=outcome.error,
            not_before=utc_now() + timedelta(seconds=seconds),
        )

    async def _end(self, delivery: DeliveryModel, outcome: Outcome) -> None:
        if outcome.is_delivered:
            logger.info("webhook delivered in {} ms", outcome.duration_ms)
        else:
            logger.warning("a webhook is given up: {}", outcome.error)
        state = DeliveryState.DELIVERED if outcome.is_delivered else DeliveryState.FAILED
        await self._deliveries.record(delivery, state, status=outcome.status, error=outcome.error)


def _is_final(status: int | None) -> bool:
    """Whether an answer means that sending the same again is of no use."""
    return status is not None and 400 <= status < 500 and status not in _PASSING


def _pause_seconds(attempts: int, retry_after_seconds: float | None) -> float:
    """Return how long to wait after so many attempts (from 1)."""
    planned = _PAUSES_SECONDS[min(attempts, len(_PAUSES_SECONDS)) - 1]
    # Spread, so that all that failed at one moment does not come back at one moment.
    planned *= random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 # nosec B311
    return min(max(planned, retry_after_seconds or 0.0), _LONGEST_PAUSE_SECONDS)
