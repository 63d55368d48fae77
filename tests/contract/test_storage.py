"""The contract of `ObjectStore`, on every store that there is."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import os
from contextlib import aclosing
from datetime import UTC, datetime, timedelta

import pytest

from core.errors import StorageUnavailable
from core.storage import ObjectNotFound, ObjectStore
from core.storage.base import STREAM_BLOCK_BYTES

MEBIBYTE = 1 << 20
KEY = "jobs/1/audio.wav"
TYPE = "application/octet-stream"


async def put(store: ObjectStore, key: str, content: bytes) -> None:
    await store.put(key, io.BytesIO(content), len(content), TYPE)


async def streamed(store: ObjectStore, key: str, *span: int | None) -> bytes:
    async with aclosing(store.stream(key, *span)) as blocks:
        return b"".join([block async for block in blocks])


async def keys(store: ObjectStore, prefix: str = "") -> list[str]:
    return [stat.key for stat in await store.list(prefix)]


READS = {
    "read": lambda store, key, folder: store.read(key),
    "read range": lambda store, key, folder: store.read(key, 3, 5),
    "read nothing": lambda store, key, folder: store.read(key, 0, 0),
    "stream": lambda store, key, folder: streamed(store, key),
    "stream nothing": lambda store, key, folder: streamed(store, key, 0, 0),
    "stat": lambda store, key, folder: store.stat(key),
    "download": lambda store, key, folder: store.download(key, folder / "copy"),
}


async def test_prepared_store_is_well_and_may_be_prepared_again(store):
    await store.health_check()
    await put(store, KEY, b"kept")
    await asyncio.gather(*(store.prepare() for _ in range(4)))
    assert await store.read(KEY) == b"kept"


async def test_clearing_up_touches_no_whole_object(store):
    await put(store, KEY, b"kept")
    await store.remove_partial(0)
    assert await store.read(KEY) == b"kept"


@pytest.mark.parametrize("content", [b"", b"x", os.urandom(STREAM_BLOCK_BYTES + 1)])
async def test_object_comes_back_as_it_was_put(store, tmp_path, content):
    before = datetime.now(UTC)
    await put(store, KEY, content)
    assert await store.read(KEY) == content
    assert await streamed(store, KEY) == content
    await store.download(KEY, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == content
    stat = await store.stat(KEY)
    assert (stat.key, stat.size_bytes) == (KEY, len(content))
    assert abs(stat.modified_at - before) < timedelta(minutes=1)
    assert stat.modified_at.utcoffset() == timedelta(0)


async def test_put_begins_at_the_sources_position_and_takes_no_more_than_asked(store):
    source = io.BytesIO(b"0123456789")
    source.seek(2)
    await store.put(KEY, source, 5, TYPE)
    assert await store.read(KEY) == b"23456"


async def test_file_is_put_whole(store, tmp_path):
    (tmp_path / "source").write_bytes(b"recording")
    await store.put_file(KEY, tmp_path / "source", "audio/wav")
    assert await store.read(KEY) == b"recording"
    assert (tmp_path / "source").read_bytes() == b"recording"


@pytest.mark.parametrize(
    ("start", "length"),
    [(0, None), (0, 10), (0, 3), (3, None), (3, 4), (9, 1), (8, 5), (0, 99), (10, None), (10, 1),
     (99, None), (99, 5), (0, 0), (5, 0), (99, 0)],
)  # fmt: skip
async def test_ranges_are_cut_as_from_bytes(store, start, length):
    content = b"0123456789"
    await put(store, KEY, content)
    expected = content[start:] if length is None else content[start : start + length]
    assert await store.read(KEY, start, length) == expected
    assert await streamed(store, KEY, start, length) == expected


@pytest.mark.parametrize(("start", "length"), [(0, None), (0, 4), (7, 7)])
async def test_empty_object_has_empty_ranges(store, start, length):
    await put(store, KEY, b"")
    assert await store.read(KEY, start, length) == b""
    assert await streamed(store, KEY, start, length) == b""


async def test_stream_comes_in_blocks_of_bounded_size(store):
    content = os.urandom(3 * STREAM_BLOCK_BYTES + 17)
    await put(store, KEY, content)
    for start, length in [(0, None), (5, None), (1, 2 * STREAM_BLOCK_BYTES)]:
        blocks = [block async for block in store.stream(KEY, start, length)]
        assert b"".join(blocks) == await store.read(KEY, start, length)
        assert all(0 < len(block) <= STREAM_BLOCK_BYTES for block in blocks)


async def test_left_streams_hold_nothing_up(store):
    await put(store, KEY, os.urandom(2 * STREAM_BLOCK_BYTES))
    for _ in range(40):  # more than the client's connection pool holds
        async with aclosing(store.stream(KEY)) as blocks:
            await anext(blocks)
    assert len(await store.read(KEY)) == 2 * STREAM_BLOCK_BYTES


@pytest.mark.parametrize("call", READS)
async def test_reading_a_missing_key(store, tmp_path, call):
    await put(store, KEY, b"another")
    with pytest.raises(ObjectNotFound) as missing:
        await READS[call](store, "jobs/1/none.wav", tmp_path)
    assert missing.value.error_code == "object_not_found"
    assert missing.value.details == {"key": "jobs/1/none.wav"}
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize("key", ["jobs", "jobs/1", f"{KEY}/deeper"])
@pytest.mark.parametrize("call", READS)
async def test_part_of_a_key_is_no_key(store, tmp_path, call, key):
    await put(store, KEY, b"whole")
    with pytest.raises(ObjectNotFound):
        await READS[call](store, key, tmp_path)
    await store.delete(key)
    assert await store.read(KEY) == b"whole"


async def test_put_replaces_an_object(store):
    await put(store, KEY, b"a long first version")
    await put(store, KEY, b"second")
    assert await store.read(KEY) == b"second"
    assert await keys(store) == [KEY]


async def test_reader_of_a_replaced_object_sees_one_version(store):
    first, second = b"1" * 4 * STREAM_BLOCK_BYTES, b"2" * 4 * STREAM_BLOCK_BYTES
    await put(store, KEY, first)
    async with aclosing(store.stream(KEY)) as blocks:
        begun = await anext(blocks)
        await put(store, KEY, second)
        assert begun + b"".join([block async for block in blocks]) == first
    assert await store.read(KEY) == second


async def test_readers_beside_a_writer_see_whole_versions(request, store):
    # moto answers 500 to who reads just while it swaps an object; the others have no such moment.
    refusals = [StorageUnavailable] if request.node.callspec.params["store"] == "moto" else []
    versions = [bytes([digit]) * (MEBIBYTE + digit) for digit in range(5)]
    await put(store, KEY, versions[0])

    async def write() -> None:
        for version in versions:
            await put(store, KEY, version)

    async def read() -> None:
        for _ in range(8):
            with contextlib.suppress(*refusals):
                assert await store.read(KEY) in versions

    await asyncio.gather(write(), read(), read())
    assert await store.read(KEY) == versions[-1]


@pytest.mark.parametrize(("given", "promised"), [(3, 4), (0, 1), (6 * MEBIBYTE, 11 * MEBIBYTE)])
async def test_source_that_ends_early_leaves_no_object(store, given, promised):
    for before in ([], [KEY]):
        with pytest.raises(StorageUnavailable) as broken:
            await store.put(KEY, io.BytesIO(b"x" * given), promised, TYPE)
        assert broken.value.retryable
        assert await keys(store) == before
        await put(store, KEY, b"the last whole version")
    assert await store.read(KEY) == b"the last whole version"


async def test_missing_source_file_leaves_no_object(store, tmp_path):
    with pytest.raises(StorageUnavailable):
        await store.put_file(KEY, tmp_path / "none", TYPE)
    assert await keys(store) == []


async def test_object_of_many_parts(store, tmp_path):
    content = os.urandom(30 * MEBIBYTE)
    await put(store, KEY, content)
    assert (await store.stat(KEY)).size_bytes == len(content)
    assert await store.read(KEY, 5 * MEBIBYTE - 3, 6) == content[5 * MEBIBYTE - 3 :][:6]
    await store.download(KEY, tmp_path / "copy")
    with (tmp_path / "copy").open("rb") as copy:
        assert hashlib.file_digest(copy, "md5").digest() == hashlib.md5(content).digest()


async def test_download_replaces_a_file_and_leaves_objects_alone(store, tmp_path):
    await put(store, "a", b"first, and longer")
    await put(store, "b", b"second")
    for key in ("a", "b", "b"):
        await store.download(key, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"second"
    assert await store.read("a") == b"first, and longer"
