"""The contract of `ApiKeyRepository`, on every database that it has to work with."""

from __future__ import annotations

from datetime import timedelta

import pytest

from core.clock import utc_now
from core.errors import Conflict
from repositories.api_key_models import ApiKey, Scope
from repositories.api_key_repository import ApiKeyRepository

MINUTE = timedelta(minutes=1)


@pytest.fixture
async def keys(database) -> ApiKeyRepository:
    repository = ApiKeyRepository(database)
    await repository.ensure_indexes()
    return repository


def a_key(key_id: str = "k", **fields) -> ApiKey:
    defaults = {
        "secret_sha256": f"digest of {key_id}",
        "owner": "alice",
        "name": "laptop",
        "scopes": [Scope.READ, Scope.WRITE],
    }
    return ApiKey(id=key_id, **defaults | fields)


async def test_a_key_comes_back_as_it_was_stored(keys):
    key = a_key()
    await keys.add(key)
    assert await keys.get("k") == key
    assert await keys.get("another") is None


async def test_an_id_is_used_once(keys):
    first = a_key()
    await keys.add(first)
    with pytest.raises(Conflict):
        await keys.add(a_key(owner="bob"))
    assert await keys.get("k") == first


async def test_keys_are_listed_in_the_order_they_were_made(keys):
    now = utc_now()
    made = [a_key(name, created_at=now + at * MINUTE) for at, name in enumerate("cab")]
    for key in (made[2], made[0], made[1]):
        await keys.add(key)
    assert await keys.list_keys() == made


async def test_whether_any_key_is_valid(keys):
    assert not await keys.has_valid()
    await keys.add(a_key("one"))
    await keys.add(a_key("two"))
    assert await keys.has_valid()
    await keys.revoke("one")
    assert await keys.has_valid()
    await keys.revoke("two")
    assert not await keys.has_valid()


async def test_a_revoked_key_stays_revoked_since_then(keys):
    await keys.add(a_key())
    await keys.add(a_key("other"))
    before = utc_now()
    revoked = await keys.revoke("k")
    assert before <= revoked.revoked_at <= utc_now()
    assert await keys.revoke("k") == revoked
    assert await keys.list_keys() == [revoked, await keys.get("other")]
    assert (await keys.get("other")).revoked_at is None
    assert await keys.revoke("none") is None


async def test_the_use_of_a_key_is_noted(keys):
    await keys.add(a_key())
    moment = utc_now() + MINUTE
    await keys.note_use("k", moment)
    assert await keys.get("k") == a_key(
        created_at=(await keys.get("k")).created_at, last_used_at=moment
    )
    await keys.note_use("none", moment)
    assert await keys.get("none") is None
