"""What the stores do when something is wrong outside, or with the key."""

from __future__ import annotations

import asyncio
import errno
import io
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from core.config import PROJECT_ROOT
from core.errors import Misconfigured, StorageUnavailable
from core.storage import FolderStore, MinioStore
from core.storage.folder import translate_os_error
from core.workspace import locked

KEY = "jobs/1/audio.wav"


@pytest.fixture
async def folder_store(tmp_path) -> FolderStore:
    store = FolderStore(tmp_path / "objects")
    await store.prepare()
    return store


async def put(store, content: bytes, key: str = KEY) -> None:
    await store.put(key, io.BytesIO(content), len(content), "audio/wav")


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    "key", ["", "/", "/etc/passwd", "..", "../x", "a/../../x", "a/..", "a/.", "a//b", "a/", "a\0b"]
)
async def test_folder_refuses_keys_that_are_no_paths_below_it(folder_store, tmp_path, key):
    (tmp_path / "x").write_bytes(b"outside")
    for call in (
        lambda: put(folder_store, b"new", key),
        lambda: folder_store.read(key),
        lambda: anext(folder_store.stream(key)),
        lambda: folder_store.stat(key),
        lambda: folder_store.download(key, tmp_path / "copy"),
        lambda: folder_store.delete(key),
    ):
        with pytest.raises(ValueError, match="not a storage key"):
            await call()
    assert files_below(tmp_path) == [tmp_path / "x"]


@pytest.mark.parametrize("prefix", ["../", "a/../../", "/etc/", "a//b/"])
async def test_folder_lists_and_deletes_nothing_outside(folder_store, tmp_path, prefix):
    (tmp_path / "x").write_bytes(b"outside")
    for call in (folder_store.list, folder_store.delete_prefix):
        with pytest.raises(ValueError, match="not a storage key"):
            await call(prefix)
    assert files_below(tmp_path) == [tmp_path / "x"]


async def test_unfinished_objects_are_neither_listed_nor_kept_for_ever(folder_store, tmp_path):
    abandoned, growing, new = (
        tmp_path / "objects" / ".partial" / name for name in ("abandoned", "growing", "new")
    )
    for path in (abandoned, growing, new):
        path.write_bytes(b"half")
    for path in (abandoned, growing):
        os.utime(path, (0, 0))
    assert await folder_store.list() == []
    with locked(growing):  # as whoever writes it does
        await folder_store.remove_partial(60)
        assert [path.exists() for path in (abandoned, growing, new)] == [False, True, True]
    await folder_store.remove_partial(60)
    assert not growing.exists()


async def test_an_object_that_comes_slowly_is_not_taken_for_an_abandoned_one(folder_store):
    """A client's upload may take longer than any grace; the writer's lock says that it goes on."""
    entered, go_on = threading.Event(), threading.Event()

    class Slow(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            entered.set()
            assert go_on.wait(30)
            return super().read(size)

    writing = asyncio.create_task(folder_store.put(KEY, Slow(b"whole"), 5, "audio/wav"))
    assert await asyncio.to_thread(entered.wait, 30)
    await folder_store.remove_partial(0)
    go_on.set()
    await writing
    assert await folder_store.read(KEY) == b"whole"


async def test_folder_that_a_neighbours_delete_takes_away_is_made_again(folder_store, monkeypatch):
    move, lost = Path.replace, []

    def replace(path: Path, target: Path) -> Path:
        if len(lost) < 3:
            lost.append(target)
            target.parent.rmdir()
        return move(path, target)

    monkeypatch.setattr(Path, "replace", replace)
    await put(folder_store, b"stored")
    assert await folder_store.read(KEY) == b"stored"
    assert len(lost) == 3


async def test_missing_folder_is_reported(tmp_path):
    with pytest.raises(Misconfigured, match="DATA_DIR"):
        await FolderStore(tmp_path / "none").health_check()


async def test_store_below_a_file_cannot_be_prepared(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageUnavailable):
        await FolderStore(tmp_path / "file" / "objects").prepare()


async def test_full_disk_leaves_the_last_version_and_no_rest(folder_store, tmp_path, monkeypatch):
    await put(folder_store, b"whole")

    def no_space(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(StorageUnavailable) as full:
        await put(folder_store, b"new version")
    assert full.value.error_code == "disk_full"
    assert full.value.retryable
    assert await folder_store.read(KEY) == b"whole"
    assert files_below(tmp_path / "objects") == [tmp_path / "objects" / KEY]


def test_file_that_the_system_refuses_to_grow_leaves_nothing(tmp_path):
    script = """
import asyncio, io, pathlib, resource, sys
from core.errors import StorageUnavailable
from core.storage import FolderStore

async def main():
    store = FolderStore(pathlib.Path(sys.argv[1]))
    await store.prepare()
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
    try:
        await store.put("a/b", io.BytesIO(bytes(2 << 20)), 2 << 20, "audio/wav")
    except StorageUnavailable as error:
        print(error.error_code, error.retryable, await store.list())

asyncio.run(main())
"""
    argv = [sys.executable, "-c", script, str(tmp_path / "objects")]
    ran = subprocess.run(argv, cwd=PROJECT_ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout == "storage_unavailable True []\n"
    assert files_below(tmp_path) == []


@pytest.mark.parametrize(
    ("number", "kind", "code"),
    [
        (errno.ENOSPC, StorageUnavailable, "disk_full"),
        (errno.EDQUOT, StorageUnavailable, "disk_full"),
        (errno.EIO, StorageUnavailable, "storage_unavailable"),
        (errno.EACCES, Misconfigured, "misconfigured"),
        (errno.EROFS, Misconfigured, "misconfigured"),
    ],
)
def test_system_errors_become_ours(number, kind, code):
    ours = translate_os_error(OSError(number, os.strerror(number)))
    assert type(ours) is kind
    assert ours.error_code == code


def test_errors_of_other_kinds_stay_as_they_are():
    assert translate_os_error(ValueError("x")) is None


async def test_unreachable_server_is_worth_another_try(make_settings, closed_port, tmp_path):
    store = MinioStore(make_settings(minio_endpoint=f"127.0.0.1:{closed_port}"))
    for call in (store.health_check(), store.read(KEY), store.list(), put(store, b"x")):
        with pytest.raises(StorageUnavailable) as unreachable:
            await call
        assert unreachable.value.retryable


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:9000", "127.0.0.1:9000/path", "host:port"])
def test_malformed_endpoint_is_a_mistake_of_the_settings(make_settings, endpoint):
    with pytest.raises(Misconfigured):
        MinioStore(make_settings(minio_endpoint=endpoint))


@pytest.mark.parametrize("login", [{"minio_secret_key": "wrong"}, {"minio_access_key": "nobody"}])
async def test_refused_login_is_a_mistake_of_the_settings(s3_settings, make_settings, login):
    store = MinioStore(make_settings(**s3_settings.model_dump() | login))
    for call in (store.health_check(), store.prepare(), store.read(KEY), put(store, b"x")):
        with pytest.raises(Misconfigured, match="MINIO_ACCESS_KEY"):
            await call


async def test_missing_bucket_is_reported_until_it_is_prepared(s3_settings):
    store = MinioStore(s3_settings)
    for call in (store.health_check(), store.read(KEY), store.list(), put(store, b"x")):
        with pytest.raises(Misconfigured, match="init-storage"):
            await call
    await store.prepare()
    await store.health_check()


async def test_broken_connection_is_never_a_short_object(make_settings):
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        store = MinioStore(make_settings(minio_endpoint=f"127.0.0.1:{port}"))
        with pytest.raises(StorageUnavailable):
            await store.read(KEY)
        with pytest.raises(StorageUnavailable):
            _ = [block async for block in store.stream(KEY)]
