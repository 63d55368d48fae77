"""Idempotency-Keys: an upload that is sent again makes no second task."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from core.clock import utc_now
from core.errors import Conflict, InvalidInput
from services import upload_keys
from services.upload_keys import UploadKeys
from tests.services.support import stored


@pytest.fixture
def keys(parts) -> UploadKeys:
    return UploadKeys(parts.keys, parts.jobs)


async def upload(
    parts, keys, job_id="job-1", owner="ann", key="k", fingerprint="f", seconds=0.0
) -> str:
    """What an upload does: make a task under a key, or answer with the one that there is."""
    async with keys.claimed(owner, key, fingerprint, job_id) as earlier:
        if earlier is not None:
            return earlier.id
        await asyncio.sleep(seconds)
        return (await stored(parts, job_id, owner=owner)).id


async def test_sent_again_it_is_the_same_task(parts, keys):
    assert await upload(parts, keys, "job-1") == "job-1"
    assert await upload(parts, keys, "job-2") == "job-1"
    assert await parts.jobs.get_job("job-2") is None


async def test_of_many_at_once_one_makes_a_task(parts, keys):
    answers = await asyncio.gather(
        *(upload(parts, keys, f"job-{at}", seconds=0.3) for at in range(10)),
        return_exceptions=True,
    )
    (made,) = [answer for answer in answers if isinstance(answer, str)]
    refused = [answer for answer in answers if isinstance(answer, Conflict)]
    assert len(refused) == 9
    assert {error.error_code for error in refused} == {"idempotency_key_in_use"}
    assert await upload(parts, keys, "late") == made


async def test_a_key_stands_for_one_request(parts, keys):
    await upload(parts, keys, fingerprint="of one recording")
    with pytest.raises(InvalidInput) as refused:
        await upload(parts, keys, fingerprint="of another")
    assert refused.value.error_code == "idempotency_key_reused"


async def test_a_key_that_is_in_use_stands_for_one_request_already(parts, keys):
    async with keys.claimed("ann", "k", "of one recording", "job-1"):
        with pytest.raises(InvalidInput):
            await upload(parts, keys, fingerprint="of another")


async def test_keys_of_different_owners_have_nothing_to_do_with_each_other(parts, keys):
    assert await upload(parts, keys, "job-1", "ann") == "job-1"
    assert await upload(parts, keys, "job-2", "bob", fingerprint="g") == "job-2"
    assert await upload(parts, keys, "job-3", "ann", "another key") == "job-3"


async def test_an_upload_that_fails_gives_its_key_back(parts, keys):
    with pytest.raises(RuntimeError):
        async with keys.claimed("ann", "k", "f", "job-1"):
            raise RuntimeError("the storage is away")
    assert await upload(parts, keys, "job-2", fingerprint="another") == "job-2"


async def test_an_upload_that_is_cut_off_gives_its_key_back(parts, keys):
    running = asyncio.create_task(upload(parts, keys, "job-1", seconds=60))
    await asyncio.sleep(0.2)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert await upload(parts, keys, "job-2") == "job-2"


async def test_the_key_of_a_deleted_task_can_be_used_again_at_once(parts, keys):
    await upload(parts, keys, "job-1")
    await parts.tasks.delete_task("ann", "job-1")
    assert await upload(parts, keys, "job-2", fingerprint="another") == "job-2"


async def test_the_key_of_a_process_that_vanished_is_free_after_a_while(parts, keys):
    manager = keys.claimed("ann", "k", "f", "job-1")
    await manager.__aenter__()
    with pytest.raises(Conflict):
        await upload(parts, keys, "job-2")
    over = {"lease_until": 0}
    await parts.database.get_collection("upload_keys").update_many({}, {"$set": over})
    answers = await asyncio.gather(
        *(upload(parts, keys, f"job-{at}", seconds=0.3) for at in range(2, 8)),
        return_exceptions=True,
    )
    assert sum(isinstance(answer, str) for answer in answers) == 1
    await manager.__aexit__(None, None, None)


async def test_an_upload_that_takes_long_keeps_its_key(parts, keys, monkeypatch):
    monkeypatch.setattr(upload_keys, "_LEASE_SECONDS", 0.3)
    running = asyncio.create_task(upload(parts, keys, "job-1", seconds=1.0))
    await asyncio.sleep(0.8)
    with pytest.raises(Conflict):
        await upload(parts, keys, "job-2")
    assert await running == "job-1"


async def test_whether_a_key_has_a_task(parts, keys):
    assert not await keys.has_task("ann", "k")
    async with keys.claimed("ann", "k", "f", "job-1"):
        assert not await keys.has_task("ann", "k")
        await stored(parts, "job-1")
    assert await keys.has_task("ann", "k")
    assert not await keys.has_task("bob", "k")


async def test_keys_are_kept_for_a_day(parts, keys):
    await upload(parts, keys)
    (stored_key,) = await parts.database.get_collection("upload_keys").find().to_list(5)
    hours = (stored_key["expires_at"] / 1000 - utc_now().timestamp()) / 3600
    assert hours == pytest.approx(24, abs=0.1)
    assert await parts.keys.delete_expired() == 0
    past = (utc_now() - timedelta(seconds=1)).timestamp() * 1000
    await parts.database.get_collection("upload_keys").update_many(
        {}, {"$set": {"expires_at": round(past)}}
    )
    assert await parts.keys.delete_expired() == 1
