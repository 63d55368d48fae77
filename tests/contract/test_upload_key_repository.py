"""The contract of `UploadKeyRepository`, on every database that it has to work with."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from core.clock import utc_now
from repositories.models import UploadKey
from repositories.upload_key_repository import UploadKeyRepository

HOUR = timedelta(hours=1)


@pytest.fixture
async def keys(database) -> UploadKeyRepository:
    repository = UploadKeyRepository(database)
    await repository.ensure_indexes()
    return repository


def a_key(key_id: str = "k", holder: str = "us", **fields) -> UploadKey:
    now = utc_now()
    defaults = {
        "fingerprint": f"fingerprint of {holder}",
        "job_id": f"job of {holder}",
        "lease_until": now + HOUR,
        "expires_at": now + 24 * HOUR,
    }
    return UploadKey(id=key_id, holder=holder, **defaults | fields)


async def test_a_key_that_nobody_used_is_ours(keys):
    ours = a_key()
    assert await keys.claim(ours) is None
    assert await keys.get("k") == ours
    assert await keys.get("another") is None


async def test_a_key_in_use_is_shown_and_stays(keys):
    ours = a_key()
    await keys.claim(ours)
    assert await keys.claim(a_key(holder="others")) == ours
    assert await keys.get("k") == ours


async def test_of_many_who_claim_at_once_one_has_it(keys):
    claimants = [a_key(holder=f"h{at}") for at in range(20)]
    answers = await asyncio.gather(*(keys.claim(key) for key in claimants))
    assert answers.count(None) == 1
    winner = claimants[answers.index(None)]
    assert all(answer in (None, winner) for answer in answers)


async def test_of_many_who_take_over_at_once_one_has_it(keys):
    dead = a_key(holder="dead")
    await keys.claim(dead)
    heirs = [a_key(holder=f"h{at}") for at in range(20)]
    taken = await asyncio.gather(*(keys.take_over(dead, heir) for heir in heirs))
    assert taken.count(True) == 1
    assert await keys.get("k") == heirs[taken.index(True)]
    assert not await keys.take_over(dead, a_key(holder="late"))


async def test_only_the_holder_renews(keys):
    ours = a_key()
    await keys.claim(ours)
    await keys.renew(a_key(holder="others"), 9 * 3600)
    assert await keys.get("k") == ours
    await keys.renew(ours, 9 * 3600)
    renewed = await keys.get("k")
    assert renewed.lease_until > ours.lease_until + 7 * HOUR
    assert renewed == ours.model_copy(update={"lease_until": renewed.lease_until})


async def test_only_the_holder_releases(keys):
    ours = a_key()
    await keys.claim(ours)
    await keys.release(a_key(holder="others"))
    assert await keys.get("k") == ours
    await keys.release(ours)
    await keys.release(ours)
    assert await keys.get("k") is None
    assert await keys.claim(a_key(holder="others")) is None


async def test_keys_are_forgotten_when_their_time_is_over(keys):
    await keys.claim(a_key("old", expires_at=utc_now() - HOUR))
    await keys.claim(a_key("new"))
    assert await keys.delete_expired() == 1
    assert await keys.delete_expired() == 0
    assert await keys.get("old") is None
    assert await keys.get("new") is not None
