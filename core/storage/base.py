"""The interface that both object stores fulfil, and the error that both raise for a missing key."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Protocol

from core.errors import NotFound

# Bytes handed on at a time: large enough to be quick, small enough for a thousand downloads.
STREAM_BLOCK_BYTES = 256 * 1024


class ObjectNotFound(NotFound):
    """No object has this key."""

    code = "object_not_found"

    def __init__(self, key: str) -> None:
        super().__init__("The stored file is no longer there.", key=key)


@dataclass(frozen=True)
class ObjectStat:
    """What is known of an object without reading it."""

    key: str
    size_bytes: int
    modified_at: datetime


class ObjectStore(Protocol):
    """Keys to bytes. Keys are made by the server (`jobs/<id>/audio.wav`), never by clients.

    Every method may raise `StorageUnavailable` (retryable) and `Misconfigured`; those that read
    raise `ObjectNotFound`. An object appears whole or not at all, replacing one of the same key.
    """

    async def prepare(self) -> None:
        """Create the bucket or folder if it is missing, and check that it can be used."""

    async def health_check(self) -> None:
        """Check that the store answers."""

    async def remove_partial(self, grace_seconds: float) -> None:
        """Remove what killed processes left half-written longer ago than this."""

    async def put(self, key: str, source: BinaryIO, length: int, content_type: str) -> None:
        """Store `length` bytes from `source`'s current position, in bounded memory."""

    async def put_file(self, key: str, path: Path, content_type: str) -> None:
        """Store a file."""

    async def read(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """Return bytes `[start, start + length)`, to the end where length is None.

        Short at the object's end. For ranges and small objects: it all comes into memory.
        """

    def stream(self, key: str, start: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """Yield the same bytes as `read` in blocks, in bounded memory."""

    async def download(self, key: str, path: Path) -> None:
        """Copy an object into a new file."""

    async def presigned_put(self, key: str, seconds: int) -> str | None:
        """Return an address to which anybody can put this object, for so long.

        None where clients cannot reach the store: they put it to us, then.
        """

    async def stat(self, key: str) -> ObjectStat:
        """Return size and time of an object."""

    async def list(self, prefix: str = "") -> list[ObjectStat]:
        """Return all objects whose key starts with `prefix`, ordered by key."""

    async def delete(self, key: str) -> None:
        """Remove an object; a missing one is no error."""

    async def delete_prefix(self, prefix: str) -> int:
        """Remove every object under `prefix` and return how many there were."""
