"""The contract of `UnitRepository`, on every database: who has a unit, and for how long."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from core.clock import utc_now
from core.messaging import DIARIZATION_QUEUE, SHORT_QUEUE, SPEECH_QUEUE
from repositories.models import EPOCH, JobError, UnitKind, UnitModel, UnitState
from repositories.unit_repository import UnitRepository
from tests.contract.units import EXPIRED, LEASE, a_unit, add, claim, claim_all

ERROR = JobError(code="engine_failed", message="whisper-cli ended: «signal 11».", retryable=True)
OPEN, RUNNING = UnitState.OPEN, UnitState.RUNNING


@pytest.fixture
async def units(database) -> UnitRepository:
    repository = UnitRepository(database)
    await repository.ensure_indexes()
    return repository


async def get(units: UnitRepository, name: str) -> UnitModel:
    (found,) = [unit for unit in await units.get_units(name.partition("-")[0]) if unit.id == name]
    return found


async def test_a_new_unit_waits_as_it_was_made(units):
    create = a_unit("1-t", chunks=[3, 4], revision=2, cost_seconds=1.5, failures=4)
    (added,) = await units.add("ann", [create])
    assert added == UnitModel(**create.model_dump())
    assert await units.get_units("1") == [added]
    assert await units.get_units("2") == []
    assert await units.add("ann", []) == []


async def test_adding_twice_adds_once_and_changes_nothing(units):
    await add(units, "ann", "1-t", chunks=[1, 2])
    held = await claim(units)
    assert await add(units, "ann", "1-t", chunks=[1]) == [held]
    assert await units.get_units("1") == [held]
    assert await claim(units) is None


async def test_adding_at_once_adds_once(units):
    await asyncio.gather(*(add(units, "ann", "1-a", "1-b", cost_seconds=9) for _ in range(10)))
    assert await claim_all(units) == ["1-a", "1-b"]


async def test_claimed_unit_carries_lease_token_and_attempt(units):
    (added,) = await add(units, "ann", "1-t", cost_seconds=1)
    before = utc_now()
    held = await claim(units)
    changes = {
        "state": RUNNING, "holder": held.holder, "attempt": 1, "lease_until": held.lease_until,
    }  # fmt: skip
    assert held == added.model_copy(update=changes)
    assert held.holder
    length = timedelta(seconds=LEASE)
    assert before + length <= held.lease_until <= utc_now() + length
    assert await get(units, "1-t") == held


async def test_nothing_to_claim(units):
    assert await claim(units) is None
    await add(units, "ann", "1-d", queue=DIARIZATION_QUEUE)
    assert await claim(units, SPEECH_QUEUE, SHORT_QUEUE) is None


async def test_queues_are_served_in_the_order_of_preference(units):
    await add(units, "ann", "1-long")
    await add(units, "ann", "2-short", queue=SHORT_QUEUE, cost_seconds=99)
    await add(units, "ann", "3-long")
    assert await claim_all(units, (SHORT_QUEUE, SPEECH_QUEUE)) == ["2-short", "1-long", "3-long"]


async def test_what_is_not_due_yet_is_passed_over(units):
    await add(units, "ann", "1-a", "1-b")
    first = await claim(units)
    await units.release(first, not_before=utc_now() + timedelta(hours=1))
    assert [unit.id for unit in await units.get_claimable(SPEECH_QUEUE, 5)] == ["1-b"]
    assert await claim_all(units) == ["1-b"]
    again = await get(units, "1-a")
    assert again.not_before > utc_now()


async def test_what_is_due_again_can_be_claimed(units):
    await add(units, "ann", "1-a")
    await units.release(await claim(units), not_before=utc_now() + timedelta(seconds=0.2))
    assert await claim(units) is None
    await asyncio.sleep(0.3)
    assert (await claim(units)).attempt == 2


async def test_each_unit_goes_to_one_of_many_claimers(units):
    await add(units, "ann", *(f"1-{at:02}" for at in range(30)))
    taken = await asyncio.gather(*(claim_all(units) for _ in range(20)))
    assert sorted(sum(taken, [])) == [f"1-{at:02}" for at in range(30)]
    held = await units.get_units("1")
    assert {unit.attempt for unit in held} == {1}
    assert len({unit.holder for unit in held}) == 30


async def test_renewing_extends_the_lease(units):
    await add(units, "ann", "1-a")
    held = await claim(units, lease_seconds=EXPIRED)
    assert await units.renew(held, LEASE)
    assert await units.renew(held, LEASE), "unchanged is not lost"
    assert (await get(units, "1-a")).lease_until > utc_now() + timedelta(seconds=LEASE / 2)
    assert await units.expire_leases() == 0


async def test_a_released_unit_is_open_with_what_was_noted(units):
    await add(units, "ann", "1-a", chunks=[1, 2, 3], failures=1)
    held = await claim(units)
    assert await units.release(held, failures=2, error=ERROR, chunks=[3])
    noted = {"state": OPEN, "holder": None, "failures": 2, "last_error": ERROR, "chunks": [3]}
    assert await get(units, "1-a") == held.model_copy(update=noted)
    again = await claim(units)
    assert (again.attempt, again.failures, again.chunks) == (2, 2, [3])
    assert await units.release(again)
    assert await get(units, "1-a") == again.model_copy(update={"state": OPEN, "holder": None})


async def test_a_unit_cut_smaller_starts_its_count_of_crashes_again(units):
    await add(units, "ann", "1-a", chunks=[1, 2])
    await claim(units, lease_seconds=EXPIRED)
    await units.expire_leases()
    held = await claim(units)
    await units.release(held)
    assert (await get(units, "1-a")).crashes == 1
    await units.release(await claim(units), chunks=[1])
    assert (await get(units, "1-a")).crashes == 0


async def test_a_finished_unit_is_gone(units):
    await add(units, "ann", "1-a", "1-b")
    held = await claim(units)
    assert await units.finish(held)
    assert not await units.finish(held)
    assert [unit.id for unit in await units.get_units("1")] == ["1-b"]


async def test_who_lost_a_unit_can_do_nothing_to_it(units):
    await add(units, "ann", "1-a")
    loser = await claim(units, lease_seconds=EXPIRED)
    await units.expire_leases()
    holder = await claim(units)
    assert not await units.renew(loser, LEASE)
    assert not await units.release(loser, failures=9, error=ERROR)
    assert not await units.finish(loser)
    assert await units.get_units("1") == [holder]
    assert await units.finish(holder)


async def test_who_gave_a_unit_back_can_do_nothing_to_it(units):
    await add(units, "ann", "1-a")
    held = await claim(units)
    await units.release(held)
    given_back = await get(units, "1-a")
    assert not await units.renew(held, LEASE)
    assert not await units.release(held, failures=9)
    assert not await units.finish(held)
    assert await get(units, "1-a") == given_back


async def test_leases_that_ended_are_counted_and_the_others_stay(units):
    *_, waiting = await add(units, "ann", "1-a", "1-b", "1-c")
    vanished = await claim(units, lease_seconds=EXPIRED)
    living = await claim(units)
    assert await units.expire_leases() == 1
    assert await units.expire_leases() == 0
    opened = {"state": OPEN, "holder": None, "crashes": 1, "not_before": EPOCH}
    assert await units.get_units("1") == [vanished.model_copy(update=opened), living, waiting]


async def test_of_many_that_expire_leases_one_counts_the_crash(units):
    await add(units, "ann", "1-a")
    await claim(units, lease_seconds=EXPIRED)
    assert sum(await asyncio.gather(*(units.expire_leases() for _ in range(20)))) == 1
    assert (await get(units, "1-a")).crashes == 1


async def test_claimable_units_come_in_order_up_to_a_limit(units):
    await add(units, "ann", *(f"1-{at}" for at in range(4)), cost_seconds=9)
    await add(units, "ann", "2-d", queue=DIARIZATION_QUEUE)
    await claim(units)
    assert [unit.id for unit in await units.get_claimable(SPEECH_QUEUE, 2)] == ["1-1", "1-2"]
    assert [unit.id for unit in await units.get_claimable(SHORT_QUEUE, 2)] == []


async def test_jobs_for_which_nothing_is_to_be_done(units):
    await add(units, "ann", "1-a", "1-b", "2-a")
    await claim(units)
    assert await units.jobs_without_units(["1", "2", "3", "4"]) == {"3", "4"}
    assert await units.jobs_without_units([]) == set()


async def test_units_are_counted_by_queue_and_state(units):
    assert await units.count() == {}
    await add(units, "ann", "1-a", "1-b", "1-c")
    await add(units, "ann", "1-d", queue=DIARIZATION_QUEUE, kind=UnitKind.DIARIZE)
    await claim(units)
    assert await units.count() == {
        (SPEECH_QUEUE, OPEN): 2, (SPEECH_QUEUE, RUNNING): 1, (DIARIZATION_QUEUE, OPEN): 1,
    }  # fmt: skip


async def test_deleting_takes_a_jobs_units_away_from_whoever_has_them(units):
    await add(units, "ann", "1-a", "1-b", "2-a")
    held = await claim(units)
    assert await units.delete_units("1") == 2
    assert await units.delete_units("1") == 0
    assert not await units.renew(held, LEASE)
    assert not await units.finish(held)
    assert await claim_all(units) == ["2-a"]


async def test_indexes_can_be_made_again_and_after_the_documents(database):
    repository = UnitRepository(database)
    await add(repository, "ann", "1-a")
    await repository.ensure_indexes()
    await repository.ensure_indexes()
    collection = database.get_collection("units")
    keys = [tuple(index["key"]) for index in (await collection.index_information()).values()]
    assert len(keys) == len(set(keys)) == 4
    assert await claim_all(repository) == ["1-a"]
