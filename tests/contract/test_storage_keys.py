"""The contract of `ObjectStore` for listing and deleting, on every store that there is."""

from __future__ import annotations

import asyncio
import io

from core.storage import ObjectStore

KEY = "jobs/1/audio.wav"


async def put(store: ObjectStore, key: str, content: bytes = b"x") -> None:
    await store.put(key, io.BytesIO(content), len(content), "text/plain")


async def keys(store: ObjectStore, prefix: str = "") -> list[str]:
    return [stat.key for stat in await store.list(prefix)]


async def test_listing_by_prefix_in_order(store):
    made = ["a!b", "a/b/c", "a0", "b/ü ñ+%2F&日本.txt", "b/x", "jobs/1/a", "jobs/11/a"]
    for key in reversed(made):
        await put(store, key, key.encode())
    assert await keys(store) == sorted(made)
    assert await keys(store, "a") == ["a!b", "a/b/c", "a0"]
    assert await keys(store, "jobs/1") == ["jobs/1/a", "jobs/11/a"]
    assert await keys(store, "jobs/1/") == ["jobs/1/a"]
    assert await keys(store, "b/ü") == ["b/ü ñ+%2F&日本.txt"]
    assert await keys(store, "none/") == await keys(store, "jobs/1/a/") == []
    for stat in await store.list():
        assert stat == await store.stat(stat.key)
        assert stat.size_bytes == len(stat.key.encode())


async def test_deleting_twice_is_no_error(store):
    await put(store, KEY)
    await put(store, "jobs/1/other")
    await store.delete(KEY)
    await store.delete(KEY)
    await store.delete("never/was/there")
    assert await keys(store) == ["jobs/1/other"]


async def test_deleting_by_prefix_counts_and_spares_the_rest(store):
    for key in ("jobs/1/a", "jobs/1/b/c", "jobs/11/a", "jobs/2/a"):
        await put(store, key)
    assert await store.delete_prefix("jobs/1/") == 2
    assert await store.delete_prefix("jobs/1/") == 0
    assert await keys(store) == ["jobs/11/a", "jobs/2/a"]


async def test_many_at_once_do_not_disturb_each_other(store):
    async def live(number: int) -> None:
        for _ in range(10):
            await put(store, f"jobs/shared/{number}")
            await store.list("jobs/")
            await store.delete(f"jobs/shared/{number}")

    await asyncio.gather(*(live(number) for number in range(8)))
    assert await keys(store) == []
