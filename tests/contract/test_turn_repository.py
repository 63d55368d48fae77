"""The contract of `TurnRepository`, on every database that it has to work with."""

from __future__ import annotations

import asyncio

import pytest

from repositories.turn_repository import TurnRepository


@pytest.fixture
def turns(database) -> TurnRepository:
    return TurnRepository(database)


async def test_of_many_who_ask_first_one_has_the_turn(turns):
    assert (await asyncio.gather(*(turns.take("sweep", 60) for _ in range(30)))).count(True) == 1
    assert not await turns.take("sweep", 60)


async def test_when_it_is_due_again_one_has_the_next_turn(turns):
    assert await turns.take("sweep", 0.2)
    assert not await turns.take("sweep", 0.2)
    await asyncio.sleep(0.3)
    assert (await asyncio.gather(*(turns.take("sweep", 60) for _ in range(30)))).count(True) == 1


async def test_who_asks_too_early_does_not_put_the_turn_off(turns):
    assert await turns.take("sweep", 0.2)
    assert not await turns.take("sweep", 3600)
    await asyncio.sleep(0.3)
    assert await turns.take("sweep", 0.2)


async def test_turns_of_different_names_are_apart(turns):
    assert await turns.take("sweep", 60)
    assert await turns.take("orphans", 60)
