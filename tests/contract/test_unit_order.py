"""Whose turn it is: start-time fair queueing over owners, on every database."""

from __future__ import annotations

import asyncio

import pytest

from core.messaging import DIARIZATION_QUEUE
from repositories.unit_repository import UnitRepository
from tests.contract.units import EXPIRED, add, claim, claim_all


@pytest.fixture
async def units(database) -> UnitRepository:
    repository = UnitRepository(database)
    await repository.ensure_indexes()
    return repository


def names(prefix: str, count: int) -> list[str]:
    return [f"{prefix}-{at:02}" for at in range(count)]


async def test_an_owners_units_come_in_the_order_that_they_were_added(units):
    await add(units, "ann", "z-1", "a-2", cost_seconds=30)
    await add(units, "ann", "m-3", cost_seconds=30)
    assert await claim_all(units) == ["z-1", "a-2", "m-3"]


async def test_a_voice_note_does_not_wait_behind_anothers_ten_hours(units):
    await add(units, "ann", *names("ten-hours", 50), cost_seconds=120)
    await add(units, "bob", "voice-note", cost_seconds=5)
    assert (await claim_all(units)).index("voice-note") <= 1


async def test_it_does_not_either_when_some_of_them_are_done(units):
    await add(units, "ann", *names("ten-hours", 20), cost_seconds=120)
    for _ in range(10):
        await claim(units)
    await add(units, "bob", "voice-note", cost_seconds=5)
    assert (await claim(units)).id == "voice-note"


async def test_owners_take_turns(units):
    for owner in ("ann", "bob", "cy"):
        await add(units, owner, *names(owner, 5), cost_seconds=30)
    order = [name.partition("-")[0] for name in await claim_all(units)]
    assert order == ["ann", "bob", "cy"] * 5


async def test_turns_are_by_the_amount_of_audio(units):
    await add(units, "ann", *names("a", 3), cost_seconds=300)
    await add(units, "bob", *names("b", 20), cost_seconds=30)
    order = await claim_all(units)
    assert order.index("a-01") == 1 + 10, "ten of half a minute for one of five"
    assert order.index("a-02") == 2 + 20


async def test_being_away_for_long_earns_no_credit(units):
    """Otherwise whoever comes back would have everybody wait until they have caught up."""
    await add(units, "bob", "b-early", cost_seconds=30)
    await add(units, "ann", *names("a", 20), cost_seconds=30)
    await claim_all(units)
    await add(units, "ann", *names("late-a", 5), cost_seconds=30)
    await add(units, "bob", *names("late-b", 5), cost_seconds=30)
    order = await claim_all(units)
    assert order.index("late-a-00") <= 1
    assert order.index("late-a-01") <= 3


async def test_what_costs_nothing_comes_first(units):
    await add(units, "ann", *names("a", 4), cost_seconds=30)
    await claim(units)
    await add(units, "bob", "merge")
    assert await claim_all(units) == ["merge", "a-01", "a-02", "a-03"]


async def test_what_is_given_back_keeps_its_place(units):
    await add(units, "ann", *names("a", 3), cost_seconds=30)
    await units.release(await claim(units))
    await claim(units, lease_seconds=EXPIRED)
    await units.expire_leases()
    assert await claim_all(units) == names("a", 3)


async def test_adding_again_costs_no_place_in_line(units):
    """Every stage asks for what comes next, and so asks again for what is waiting already."""
    for _ in range(50):
        await add(units, "ann", "a-first", cost_seconds=30)
    await add(units, "ann", "a-second", cost_seconds=30)
    await add(units, "bob", *names("b", 10), cost_seconds=30)
    assert (await claim_all(units)).index("a-second") <= 3


async def test_lines_of_different_queues_are_apart(units):
    await add(units, "ann", *names("a", 10), queue=DIARIZATION_QUEUE, cost_seconds=9999)
    await add(units, "ann", "a-speech", cost_seconds=30)
    await add(units, "bob", *names("b", 5), cost_seconds=30)
    assert (await claim_all(units)).index("a-speech") == 0


async def test_of_many_added_at_once_each_has_its_own_place(units):
    await asyncio.gather(*(add(units, "ann", name, cost_seconds=30) for name in names("a", 20)))
    found = await units.get_claimable("speech", 99)
    assert [unit.rank for unit in found] == [at * 30_000 for at in range(20)]
