"""The contract of `WebhookRepository`, on every database that it has to work with."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from core.clock import utc_now
from core.errors import InvalidInput, NotFound
from repositories.webhook_models import WebhookModel
from repositories.webhook_repository import WebhookRepository


@pytest.fixture
async def webhooks(database) -> WebhookRepository:
    repository = WebhookRepository(database)
    await repository.ensure_indexes()
    return repository


def a_webhook(webhook_id: str = "w", owner: str = "ann", **fields) -> WebhookModel:
    defaults = {"url": f"https://{webhook_id}.example/", "secret": f"whsec_{owner}"}
    return WebhookModel(id=webhook_id, owner=owner, **defaults | fields)


async def test_a_registered_webhook_is_found(webhooks):
    made = await webhooks.register(a_webhook())
    assert await webhooks.get("w") == made
    assert await webhooks.require("w", "ann") == made
    assert await webhooks.get("another") is None
    for webhook_id, owner in (("w", "bob"), ("another", "ann")):
        with pytest.raises(NotFound) as missing:
            await webhooks.require(webhook_id, owner)
        assert missing.value.error_code == "webhook_not_found"


async def test_of_many_who_register_at_once_all_get_the_same(webhooks):
    made = await asyncio.gather(
        *(webhooks.register(a_webhook(secret=f"whsec_{at}")) for at in range(20))
    )
    assert len({webhook.secret for webhook in made}) == 1
    assert await webhooks.get("w") == made[0]


async def test_a_disabled_webhook_says_why_until_it_is_registered_again(webhooks):
    made = await webhooks.register(a_webhook())
    now = utc_now()
    await webhooks.disable("w", now, "gone")
    await webhooks.disable("w", now + timedelta(hours=1), "still gone")
    disabled = await webhooks.get("w")
    assert disabled == made.model_copy(update={"disabled_at": now, "disabled_reason": "gone"})
    assert await webhooks.register(a_webhook(secret="whsec_new")) == made
    assert await webhooks.get("w") == made


async def test_a_deleted_webhook_is_gone(webhooks):
    await webhooks.register(a_webhook())
    await webhooks.delete("w")
    await webhooks.delete("w")
    assert await webhooks.get("w") is None


async def test_webhooks_are_listed_in_pages_newest_first(webhooks):
    now = utc_now()
    # Two of the same moment: neither is lost between the pages.
    for at, age in enumerate([3, 2, 2, 1, 0]):
        await webhooks.register(a_webhook(f"w{at}", created_at=now - timedelta(seconds=age)))
    await webhooks.register(a_webhook("bobs", owner="bob"))
    seen, cursor = [], None
    while page := await webhooks.list_webhooks("ann", limit=2, cursor=cursor):
        seen += [webhook.id for webhook in page.items]
        if (cursor := page.next_cursor) is None:
            break
    assert seen == ["w4", "w3", "w2", "w1", "w0"]
    with pytest.raises(InvalidInput):
        await webhooks.list_webhooks("ann", limit=2, cursor="nonsense")
