"""Objects as files under one folder, for a machine without MinIO."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import os
import shutil
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, TypeVar

from core.errors import AppError, Misconfigured, StorageUnavailable
from core.logger import logged_operation
from core.storage.base import STREAM_BLOCK_BYTES, ObjectNotFound, ObjectStat
from core.workspace import locked, remove_abandoned

T = TypeVar("T")

# Unfinished objects lie here, beside the finished ones so that a rename is atomic.
_PARTIAL = ".partial"
# A put makes its folder, which the delete of a neighbour may take away again before it is used.
_MOVE_ATTEMPTS = 20


def translate_os_error(error: Exception) -> AppError | None:
    """Map an OSError to ours; None for anything else."""
    if not isinstance(error, OSError):
        return None
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageUnavailable("The storage disk is full. Free some space.", code="disk_full")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return Misconfigured("The storage folder is not writable. Check DATA_DIR's owner.")
    return StorageUnavailable(f"The storage folder failed ({os.strerror(error.errno or 0)}).")


class FolderStore:
    """An `ObjectStore` in a folder; every key is a path below it."""

    def __init__(self, root: Path) -> None:
        self._root = root

    async def prepare(self) -> None:
        """Create the folder, and check that it can be used."""

        def make() -> None:
            (self._root / _PARTIAL).mkdir(parents=True, exist_ok=True)

        await self._run("prepare storage folder", None, make)

    async def remove_partial(self, grace_seconds: float) -> None:
        """Remove what killed processes left half-written longer ago than this."""
        partial = self._root / _PARTIAL
        await self._run(
            "remove partial objects", None, lambda: remove_abandoned(partial, grace_seconds)
        )

    async def health_check(self) -> None:
        """Check that the folder is there and writable."""

        def check() -> None:
            if not os.access(self._root, os.W_OK):
                raise PermissionError(errno.EACCES, "not writable")

        await self._run("check storage folder", None, check)

    async def put(self, key: str, source: BinaryIO, length: int, content_type: str) -> None:
        """Store bytes from an open file: written aside, flushed to disk, then renamed."""

        def write() -> None:
            target = self._path(key)
            partial = self._root / _PARTIAL / uuid.uuid4().hex
            partial.parent.mkdir(parents=True, exist_ok=True)
            try:
                with partial.open("xb") as out, locked(partial):
                    _copy(source, out, length)
                    out.flush()
                    os.fsync(out.fileno())
                _move(partial, target)
            finally:
                partial.unlink(missing_ok=True)

        await self._run("store object", key, write)

    async def put_file(self, key: str, path: Path, content_type: str) -> None:
        """Store a file."""
        with logged_operation("open file", translate=translate_os_error, quiet=True, key=key):
            source = path.open("rb")
        with source:
            await self.put(key, source, path.stat().st_size, content_type)

    async def read(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """Return a range of an object."""

        def read() -> bytes:
            with self._existing(key).open("rb") as file:
                file.seek(start)
                return file.read(-1 if length is None else length)

        return await self._run("read object", key, read)

    async def stream(
        self, key: str, start: int = 0, length: int | None = None
    ) -> AsyncIterator[bytes]:
        """Yield a range of an object in blocks."""
        file = await self._run("open object", key, lambda: self._existing(key).open("rb"))
        try:
            file.seek(start)
            left = length
            while left is None or left > 0:
                size = STREAM_BLOCK_BYTES if left is None else min(left, STREAM_BLOCK_BYTES)
                block = await self._run("read object", key, functools.partial(file.read, size))
                if not block:
                    return
                left = None if left is None else left - len(block)
                yield block
        finally:
            file.close()

    async def download(self, key: str, path: Path) -> None:
        """Copy an object into a new file (a hard link where the disk allows it)."""

        def copy() -> None:
            source = self._existing(key)
            path.parent.mkdir(parents=True, exist_ok=True)
            # Never written over: it may be a link to another object.
            path.unlink(missing_ok=True)
            try:
                os.link(source, path)
            except FileNotFoundError:
                raise
            except OSError:
                shutil.copyfile(source, path)

        await self._run("fetch object", key, copy)

    async def presigned_put(self, key: str, seconds: int) -> None:
        """Return None: a folder has no addresses."""

    async def stat(self, key: str) -> ObjectStat:
        """Return size and time of an object."""
        return await self._run("stat object", key, lambda: self._stat(self._existing(key)))

    async def list(self, prefix: str = "") -> list[ObjectStat]:
        """Return all objects whose key starts with `prefix`, ordered by key."""

        def find() -> list[ObjectStat]:
            # Keys below the prefix's folder only: listing one job must not walk all of them.
            folder = prefix.rpartition("/")[0]
            start = self._path(folder) if folder else self._root
            found = []
            for path in _files_below(start, without=self._root / _PARTIAL):
                if self._key(path).startswith(prefix):
                    with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
                        found.append(self._stat(path))
            return sorted(found, key=lambda stat: stat.key)

        return await self._run("list objects", prefix, find)

    async def delete(self, key: str) -> None:
        """Remove an object, and the folders that it leaves empty."""

        def remove() -> None:
            path = self._path(key)
            if path.is_file():
                path.unlink(missing_ok=True)
            for folder in path.parents:
                if folder == self._root or not folder.exists():
                    break
                try:
                    folder.rmdir()
                except OSError:
                    break

        await self._run("delete object", key, remove)

    async def delete_prefix(self, prefix: str) -> int:
        """Remove every object under `prefix`."""
        found = await self.list(prefix)
        for stat in found:
            await self.delete(stat.key)
        return len(found)

    async def _run(self, name: str, key: str | None, work: Callable[[], T]) -> T:
        """Run blocking file work in a thread, with logging and our errors."""
        with logged_operation(name, translate=translate_os_error, quiet=True, key=key):
            try:
                return await asyncio.to_thread(work)
            except FileNotFoundError as error:
                if key is None:
                    raise
                raise ObjectNotFound(key) from error

    def _path(self, key: str) -> Path:
        """Return the file of a key, refusing any that would leave the folder."""
        parts = key.split("/")
        if not key or any(part in ("", ".", "..") or "\0" in part for part in parts):
            raise ValueError(f"not a storage key: {key!r}")
        return self._root.joinpath(*parts)

    def _existing(self, key: str) -> Path:
        """Return the file of a key that there is: folders are only parts of keys."""
        path = self._path(key)
        if not path.is_file():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), key)
        return path

    def _key(self, path: Path) -> str:
        return path.relative_to(self._root).as_posix()

    def _stat(self, path: Path) -> ObjectStat:
        stat = path.stat()
        return ObjectStat(
            self._key(path), stat.st_size, datetime.fromtimestamp(stat.st_mtime, tz=UTC)
        )


def _copy(source: BinaryIO, target: BinaryIO, length: int) -> None:
    left = length
    while left > 0:
        block = source.read(min(left, STREAM_BLOCK_BYTES))
        if not block:
            raise OSError(errno.EIO, f"the source ended {left} bytes early")
        target.write(block)
        left -= len(block)


def _move(source: Path, target: Path) -> None:
    for attempt in range(1, _MOVE_ATTEMPTS + 1):
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            source.replace(target)
        except (FileNotFoundError, FileExistsError):  # gone before, or while, mkdir looked at it
            if attempt == _MOVE_ATTEMPTS:
                raise
        else:
            with contextlib.suppress(FileNotFoundError):  # deleted again already
                _flush_folders(target)
            return


def _flush_folders(target: Path) -> None:
    """Have the disk remember a file's name, too, and that of its folder."""
    for folder in (target.parent, target.parent.parent):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _files_below(start: Path, *, without: Path) -> Iterator[Path]:
    """Yield the files of a folder; what is deleted meanwhile may be missing."""
    for folder, _, names in os.walk(start):
        if Path(folder) != without:
            yield from (Path(folder, name) for name in names)
