"""Endpoints belong to their owners, and to nobody else."""

from __future__ import annotations

import base64

import pytest

from core.errors import Conflict, InvalidInput, NotFound
from core.outgoing import OutgoingClient
from services.webhook_service import WebhookService
from tests.receiver import receiver


@pytest.fixture
def service(parts) -> WebhookService:
    client = OutgoingClient(parts.settings.model_copy(update={"allowed_networks": ["127.0.0.0/8"]}))
    return WebhookService(parts.webhook_endpoints, parts.webhook_deliveries, client)


@pytest.fixture
def endpoint():
    with receiver() as server:
        yield server


async def test_each_owner_and_address_has_a_webhook_and_a_secret_of_its_own(service, endpoint):
    anns, again, bobs = [
        await service.register(owner, endpoint.url) for owner in ("ann", "ann", "bob")
    ]
    another = await service.register("ann", endpoint.url + "?other")
    assert again == anns
    assert len({webhook.id for webhook in (anns, bobs, another)}) == 3
    secrets = {webhook.secret for webhook in (anns, bobs, another)}
    assert len(secrets) == 3
    for secret in secrets:
        assert secret.startswith("whsec_")
        assert 24 <= len(base64.b64decode(secret.removeprefix("whsec_"), validate=True)) <= 64


async def test_another_owner_sees_no_webhook(service, endpoint):
    webhook = await service.register("ann", endpoint.url)
    delivery, _ = await service.send_test("ann", webhook.id)
    page = {"limit": 9, "cursor": None}
    for attempt in (
        service.get("bob", webhook.id),
        service.delete("bob", webhook.id),
        service.send_test("bob", webhook.id),
        service.list_deliveries("bob", webhook.id, **page),
        service.retry("bob", webhook.id, delivery.id),
    ):
        with pytest.raises(NotFound) as missing:
            await attempt
        assert missing.value.error_code == "webhook_not_found"
    assert (await service.list_webhooks("bob", **page)).items == []
    assert (await service.list_webhooks("ann", **page)).items == [webhook]
    assert len(endpoint.received) == 1


async def test_a_delivery_of_ones_other_webhook_is_not_found_there(service, endpoint):
    one = await service.register("ann", endpoint.url)
    other = await service.register("ann", endpoint.url + "?other")
    delivery, _ = await service.send_test("ann", one.id)
    with pytest.raises(NotFound) as missing:
        await service.retry("ann", other.id, delivery.id)
    assert missing.value.error_code == "delivery_not_found"


async def test_a_disabled_webhook_is_tested_but_nothing_is_retried(parts, service, endpoint):
    webhook = await service.register("ann", endpoint.url)
    await parts.webhook_endpoints.disable(webhook.id, webhook.created_at, "gone")
    delivery, outcome = await service.send_test("ann", webhook.id)
    assert outcome.is_delivered
    with pytest.raises(Conflict) as refused:
        await service.retry("ann", webhook.id, delivery.id)
    assert refused.value.error_code == "webhook_disabled"
    assert (await service.register("ann", endpoint.url)).disabled_at is None
    await service.retry("ann", webhook.id, delivery.id)


async def test_what_is_being_sent_is_not_retried(parts, service, endpoint):
    webhook = await service.register("ann", endpoint.url)
    delivery, _ = await service.send_test("ann", webhook.id)
    await service.retry("ann", webhook.id, delivery.id)
    assert await parts.webhook_deliveries.claim(60)
    with pytest.raises(Conflict) as refused:
        await service.retry("ann", webhook.id, delivery.id)
    assert refused.value.error_code == "delivery_in_progress"


async def test_a_name_that_nobody_has_is_the_clients_mistake(service):
    with pytest.raises(InvalidInput) as refused:
        await service.register("ann", "https://name.invalid/")
    assert refused.value.error_code == "url_unreachable"
