"""The contract of `DeliveryRepository`, on every database that it has to work with."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from core.clock import utc_now
from core.errors import NotFound
from repositories.delivery_repository import DeliveryRepository
from repositories.webhook_models import DeliveryModel, DeliveryState

HOUR = timedelta(hours=1)
LEASE = 3600.0
ENDED = -1.0  # a lease that is over when it is given


@pytest.fixture
async def deliveries(database) -> DeliveryRepository:
    repository = DeliveryRepository(database)
    await repository.ensure_indexes()
    return repository


def a_delivery(delivery_id: str = "d", **fields) -> DeliveryModel:
    defaults = {
        "owner": "ann", "webhook_id": "w", "job_id": "job-1", "type": "task.completed",
        "body": '{"a": "ä"}', "expires_at": utc_now() + HOUR,
    }  # fmt: skip
    return DeliveryModel(id=delivery_id, **defaults | fields)


async def found(deliveries: DeliveryRepository, delivery_id: str = "d") -> DeliveryModel:
    return await deliveries.require(delivery_id, "w")


async def test_added_twice_it_is_there_once_as_it_was_first(deliveries):
    first = a_delivery()
    assert await deliveries.add(first)
    assert not await deliveries.add(a_delivery(body="other"))
    assert await found(deliveries) == first


async def test_a_delivery_of_another_webhook_is_not_found(deliveries):
    await deliveries.add(a_delivery())
    for delivery_id, webhook_id in (("d", "v"), ("e", "w")):
        with pytest.raises(NotFound) as missing:
            await deliveries.require(delivery_id, webhook_id)
        assert missing.value.error_code == "delivery_not_found"


async def test_of_many_who_claim_at_once_one_gets_it(deliveries):
    await deliveries.add(a_delivery())
    claims = await asyncio.gather(*(deliveries.claim(LEASE) for _ in range(20)))
    (ours,) = [claim for claim in claims if claim is not None]
    assert (ours.id, ours.body, ours.attempts) == ("d", '{"a": "ä"}', 1)
    assert await found(deliveries) == ours
    assert utc_now() - ours.attempted_at < HOUR


async def test_what_has_been_due_for_longest_is_claimed_first(deliveries):
    now = utc_now()
    await deliveries.add(a_delivery("later", not_before=now - timedelta(seconds=1)))
    await deliveries.add(a_delivery("first", not_before=now - timedelta(seconds=2)))
    await deliveries.add(a_delivery("not yet", not_before=now + HOUR))
    await deliveries.add(a_delivery("done", state=DeliveryState.DELIVERED))
    await deliveries.add(a_delivery("lost", state=DeliveryState.FAILED))
    claimed = [(await deliveries.claim(LEASE)).id for _ in range(2)]
    assert claimed == ["first", "later"]
    assert await deliveries.claim(LEASE) is None


async def test_owners_who_have_to_wait_are_passed_over(deliveries):
    await deliveries.add(a_delivery("anns"))
    await deliveries.add(a_delivery("bobs", owner="bob", not_before=utc_now()))
    assert (await deliveries.claim(LEASE, not_of=["ann"])).id == "bobs"
    assert await deliveries.claim(LEASE, not_of=["ann"]) is None
    assert (await deliveries.claim(LEASE)).id == "anns"


async def test_after_its_lease_another_has_it_and_the_first_records_nothing(deliveries):
    await deliveries.add(a_delivery())
    dead = await deliveries.claim(ENDED)
    heir = await deliveries.claim(LEASE)
    assert (heir.id, heir.attempts) == (dead.id, 2)
    done = DeliveryState.DELIVERED
    assert not await deliveries.record(dead, done, status=200, error=None)
    assert await found(deliveries) == heir
    assert await deliveries.record(heir, done, status=204, error=None)
    assert not await deliveries.record(heir, done, status=204, error=None)
    ended = await found(deliveries)
    assert (ended.state, ended.last_status, ended.last_error) == (done, 204, None)
    assert await deliveries.claim(LEASE) is None


async def test_one_that_is_to_be_tried_again_waits_until_then(deliveries):
    await deliveries.add(a_delivery())
    ours = await deliveries.claim(LEASE)
    at = utc_now() + HOUR
    assert await deliveries.record(
        ours, DeliveryState.OPEN, status=None, error="It broke.", not_before=at
    )
    waiting = await found(deliveries)
    assert (waiting.not_before, waiting.last_error, waiting.holder) == (at, "It broke.", None)
    assert await deliveries.claim(LEASE) is None


@pytest.mark.parametrize("state", DeliveryState)
async def test_reopened_it_is_due_at_once(deliveries, state):
    await deliveries.add(a_delivery(state=state, attempts=9, not_before=utc_now() + HOUR))
    assert await deliveries.reopen(await found(deliveries))
    assert (await deliveries.claim(LEASE)).attempts == 1


async def test_one_that_is_being_sent_is_not_reopened(deliveries):
    await deliveries.add(a_delivery())
    ours = await deliveries.claim(LEASE)
    assert not await deliveries.reopen(ours)
    assert await found(deliveries) == ours


async def test_deliveries_are_listed_in_pages_newest_first(deliveries):
    now = utc_now()
    for at, age in enumerate([3, 2, 2, 1, 0]):
        await deliveries.add(a_delivery(f"d{at}", created_at=now - timedelta(seconds=age)))
    await deliveries.add(a_delivery("other", webhook_id="v"))
    seen, cursor = [], None
    while page := await deliveries.list_deliveries("w", limit=2, cursor=cursor):
        seen += [delivery.id for delivery in page.items]
        if (cursor := page.next_cursor) is None:
            break
    assert seen == ["d4", "d3", "d2", "d1", "d0"]


async def test_those_of_a_deleted_webhook_go_with_it(deliveries):
    for delivery_id, webhook_id in (("a", "w"), ("b", "w"), ("c", "v")):
        await deliveries.add(a_delivery(delivery_id, webhook_id=webhook_id))
    ours = await deliveries.claim(LEASE)
    await deliveries.delete_of("w")
    assert not await deliveries.record(ours, DeliveryState.OPEN, status=500, error="x")
    assert (await deliveries.claim(LEASE)).id == "c"
    assert await deliveries.claim(LEASE) is None


async def test_deliveries_are_forgotten_when_their_time_is_over(deliveries):
    await deliveries.add(a_delivery("old", expires_at=utc_now() - HOUR))
    await deliveries.add(a_delivery("new"))
    assert await deliveries.delete_expired() == 1
    assert await deliveries.delete_expired() == 0
    assert (await found(deliveries, "new")).id == "new"
