"""API keys: what tokens are made of, and how seldom the database is asked about them."""

from __future__ import annotations

import hashlib
from collections import Counter
from datetime import timedelta

import pytest

from core.clock import utc_now
from core.errors import InvalidInput, NotFound
from repositories.api_key_models import ApiKey, Scope
from repositories.api_key_repository import ApiKeyRepository
from services.key_service import KeyService


class CountingRepository(ApiKeyRepository):
    """Counts what it is asked."""

    def __init__(self, database) -> None:
        super().__init__(database)
        self.asked: Counter[str] = Counter()

    async def get(self, key_id: str) -> ApiKey | None:
        self.asked["get"] += 1
        return await super().get(key_id)

    async def has_valid(self) -> bool:
        self.asked["has_valid"] += 1
        return await super().has_valid()

    async def note_use(self, key_id: str, moment) -> None:
        self.asked["note_use"] += 1
        await super().note_use(key_id, moment)


@pytest.fixture
def keys(parts) -> CountingRepository:
    return CountingRepository(parts.database)


@pytest.fixture
def access(keys) -> KeyService:
    return KeyService(keys)


@pytest.fixture
def seconds(monkeypatch) -> list[float]:
    """This process's clock, which stands still."""
    now = [1000.0]
    monkeypatch.setattr("services.key_service.time.monotonic", lambda: now[0])
    return now


async def test_tokens_are_random_and_only_their_digest_is_kept(access, keys):
    made = [await access.create("alice", "x", [Scope.READ]) for _ in range(20)]
    secrets = {token.split("_")[2] for _, token in made}
    assert len(secrets) == len({key.id for key, _ in made}) == 20
    assert all(len(bytes.fromhex(secret)) * 8 >= 128 for secret in secrets)
    for key, token in made:
        assert token == f"stt_{key.id}_{token.split('_')[2]}"
        stored = await keys.get(key.id)
        assert stored.secret_sha256 == hashlib.sha256(token.split("_")[2].encode()).hexdigest()
        assert (await access.authenticate(token)).id == key.id


async def test_scopes_are_kept_once_and_in_order(access):
    key, _ = await access.create("alice", "x", [Scope.ADMIN, Scope.READ, Scope.READ])
    assert key.scopes == [Scope.READ, Scope.ADMIN]


@pytest.mark.parametrize(
    ("owner", "name", "scopes"),
    [
        ("", "x", [Scope.READ]), ("a b", "x", [Scope.READ]), ("a\n", "x", [Scope.READ]),
        ("a", "", [Scope.READ]), ("a", "x\n", [Scope.READ]), ("a", "x", []),
    ],
)  # fmt: skip
async def test_keys_that_cannot_be(access, keys, owner, name, scopes):
    with pytest.raises(InvalidInput) as refusal:
        await access.create(owner, name, scopes)
    assert refusal.value.error_code == "invalid_key"
    assert await keys.list_keys() == []


async def test_many_requests_cost_one_query_in_two_seconds(access, keys, seconds):
    _, token = await access.create("alice", "x", [Scope.READ])
    for _ in range(50):
        assert await access.authenticate(token)
        assert await access.has_valid()
    assert (keys.asked["get"], keys.asked["has_valid"]) == (1, 1)
    seconds[0] += 2
    await access.authenticate(token)
    await access.has_valid()
    assert (keys.asked["get"], keys.asked["has_valid"]) == (2, 2)


async def test_what_another_process_does_counts_two_seconds_later(access, keys, seconds):
    other = KeyService(keys)
    assert not await access.has_valid()
    key, token = await other.create("alice", "x", [Scope.READ])
    seconds[0] += 2
    assert await access.has_valid()
    assert await access.authenticate(token)
    await other.revoke(key.id)
    seconds[0] += 2
    assert await access.authenticate(token) is None
    assert not await access.has_valid()


async def test_what_this_process_does_counts_at_once(access, seconds):
    assert not await access.has_valid()
    key, token = await access.create("alice", "x", [Scope.READ])
    assert await access.has_valid()
    assert await access.authenticate(token)
    await access.revoke(key.id)
    assert await access.authenticate(token) is None
    assert not await access.has_valid()
    with pytest.raises(NotFound):
        await access.revoke("0" * 16)


async def test_uses_are_noted_once_a_minute(access, keys):
    key, token = await access.create("alice", "x", [Scope.READ])
    before = utc_now()
    for _ in range(10):
        await access.authenticate(token)
    assert keys.asked["note_use"] == 1
    assert (await keys.get(key.id)).last_used_at >= before
    await keys.note_use(key.id, before - timedelta(minutes=2))
    again = KeyService(keys)
    await again.authenticate(token)
    assert (await keys.get(key.id)).last_used_at >= before
