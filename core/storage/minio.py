"""Objects in a MinIO (or any S3) bucket, through the `minio` client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeVar
from urllib.parse import SplitResult, parse_qs, urlsplit

import urllib3
from minio import Minio
from minio.deleteobjects import DeleteObject
from minio.error import MinioException, S3Error
from urllib3.exceptions import HTTPError

from core.config import Settings
from core.errors import AppError, Misconfigured, StorageUnavailable
from core.logger import logged_operation
from core.storage.base import STREAM_BLOCK_BYTES, ObjectNotFound, ObjectStat

if TYPE_CHECKING:
    from urllib3.response import BaseHTTPResponse

T = TypeVar("T")

_MISSING = {"NoSuchKey", "NoSuchObject", "NotFound"}
_EMPTY_RANGE = "InvalidRange"  # it starts at the object's end or beyond
_OURS_ALREADY = "BucketAlreadyOwnedByYou"
_REFUSED = {
    "AccessDenied",
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "AuthorizationHeaderMalformed",
}


def translate_minio_error(error: Exception) -> AppError | None:
    """Map an error of minio or urllib3 to ours; None for anything else.

    An unreachable server raises urllib3's errors, not minio's.
    """
    match error:
        case S3Error() if error.code == "NoSuchBucket":
            return Misconfigured("The bucket does not exist. Run `python main.py init-storage`.")
        case S3Error() if error.code in _REFUSED:
            return Misconfigured(
                "The object store refused the login. Check MINIO_ACCESS_KEY and MINIO_SECRET_KEY."
            )
        case MinioException() | HTTPError():
            return StorageUnavailable("The object store cannot be reached. Try again in a moment.")
        case OSError():
            return StorageUnavailable(f"Moving a file failed ({error.strerror or error}).")
        case ValueError():
            return Misconfigured(f"The object store refuses its settings: {error}.")
        case _:
            return None


class MinioStore:
    """An `ObjectStore` in one bucket. Thread-safe; create it after any fork.

    Raises:
        Misconfigured: `minio_endpoint` is not `host:port`, or `minio_public_url` no address.
    """

    def __init__(self, settings: Settings) -> None:
        # Few retries here: the layers above retry with backoff, and know when to stop.
        pool = urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=5, read=60),
            maxsize=16,
            retries=urllib3.Retry(total=2, backoff_factor=0.2, status_forcelist=[502, 503, 504]),
        )
        self._bucket = settings.minio_bucket
        self._access_key = settings.minio_access_key
        self._secret_key = settings.minio_secret_key.get_secret_value()
        self._public_url = _parse_public(settings.minio_public_url)
        with logged_operation("read MinIO address", translate=translate_minio_error, quiet=True):
            self._client = Minio(
                settings.minio_endpoint,
                access_key=self._access_key,
                secret_key=self._secret_key,
                secure=settings.minio_secure,
                http_client=pool,
            )

    async def prepare(self) -> None:
        """Create the bucket if it is missing."""

        def make() -> None:
            if self._client.bucket_exists(self._bucket):
                return
            try:
                self._client.make_bucket(self._bucket)
            except S3Error as error:
                if error.code != _OURS_ALREADY:  # another process was first
                    raise

        await self._run("prepare bucket", None, make)

    async def health_check(self) -> None:
        """Check that the server answers and the bucket is there."""

        def check() -> None:
            if not self._client.bucket_exists(self._bucket):
                raise Misconfigured("The bucket is missing. Run `python main.py init-storage`.")

        await self._run("check bucket", None, check)

    async def remove_partial(self, grace_seconds: float) -> None:
        """Nothing to do: the server drops unfinished uploads by itself (after 24 h)."""

    async def put(self, key: str, source: BinaryIO, length: int, content_type: str) -> None:
        """Store bytes from an open file, in parts of at least 5 MiB where it is long."""
        await self._run(
            "store object",
            key,
            lambda: self._client.put_object(
                self._bucket, key, source, length, content_type=content_type
            ),
        )

    async def put_file(self, key: str, path: Path, content_type: str) -> None:
        """Store a file."""
        await self._run(
            "store object",
            key,
            lambda: self._client.fput_object(
                self._bucket, key, str(path), content_type=content_type
            ),
        )

    async def read(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """Return a range of an object."""

        def read() -> bytes:
            response = self._open(key, start, length)
            if response is None:
                return b""
            try:
                return response.read()
            finally:
                _release(response)

        return await self._run("read object", key, read)

    async def stream(
        self, key: str, start: int = 0, length: int | None = None
    ) -> AsyncIterator[bytes]:
        """Yield a range of an object in blocks."""
        response = await self._run("open object", key, lambda: self._open(key, start, length))
        if response is None:
            return
        try:
            while block := await self._run(
                "read object", key, lambda: response.read(STREAM_BLOCK_BYTES)
            ):
                yield block
        finally:
            _release(response)

    async def download(self, key: str, path: Path) -> None:
        """Copy an object into a new file."""
        await self._run(
            "fetch object", key, lambda: self._client.fget_object(self._bucket, key, str(path))
        )

    async def presigned_put(self, key: str, seconds: int) -> str | None:
        """Return an address at `minio_public_url`; None without that setting."""
        public = self._public_url
        if public is None:
            return None
        expires = timedelta(seconds=seconds)

        def sign() -> str:
            # Only asked for its region: a signature covers the host, which clients call by
            # another name, and that may lead nowhere from here.
            ours = self._client.presigned_put_object(self._bucket, key, expires)
            client = Minio(
                public.netloc,
                access_key=self._access_key,
                secret_key=self._secret_key,
                secure=public.scheme == "https",
                region=_region_of(ours),
            )
            return client.presigned_put_object(self._bucket, key, expires)

        return await self._run("sign address", key, sign)

    async def stat(self, key: str) -> ObjectStat:
        """Return size and time of an object."""

        def stat() -> ObjectStat:
            found = self._client.stat_object(self._bucket, key)
            assert found.size is not None
            assert found.last_modified is not None
            return ObjectStat(key, found.size, found.last_modified)

        return await self._run("stat object", key, stat)

    async def list(self, prefix: str = "") -> list[ObjectStat]:
        """Return all objects whose key starts with `prefix`, ordered by key."""

        def find() -> list[ObjectStat]:
            found = self._client.list_objects(self._bucket, prefix=prefix, recursive=True)
            return [
                ObjectStat(item.object_name, item.size or 0, item.last_modified)
                for item in found
                if item.object_name and item.last_modified
            ]

        return await self._run("list objects", prefix, find)

    async def delete(self, key: str) -> None:
        """Remove an object; a missing one is no error."""
        await self._run("delete object", key, lambda: self._client.remove_object(self._bucket, key))

    async def delete_prefix(self, prefix: str) -> int:
        """Remove every object under `prefix`, a thousand a request."""
        found = await self.list(prefix)

        def remove() -> None:
            names = [DeleteObject(stat.key) for stat in found]
            failed = list(self._client.remove_objects(self._bucket, names))
            if failed:
                raise StorageUnavailable(f"{len(failed)} stored files could not be deleted.")

        if found:
            await self._run("delete objects", prefix, remove)
        return len(found)

    async def _run(self, name: str, key: str | None, work: Callable[[], T]) -> T:
        """Run a blocking client call in a thread, with logging and our errors."""
        with logged_operation(name, translate=translate_minio_error, quiet=True, key=key):
            try:
                return await asyncio.to_thread(work)
            except S3Error as error:
                if key is not None and error.code in _MISSING:
                    raise ObjectNotFound(key) from error
                raise

    def _open(self, key: str, start: int, length: int | None) -> BaseHTTPResponse | None:
        """Begin to read a range of an object; None if there is the object, but nothing in it."""
        if length == 0:  # which the client takes for "to the end"
            self._client.stat_object(self._bucket, key)
            return None
        try:
            return self._client.get_object(self._bucket, key, offset=start, length=length or 0)
        except S3Error as error:
            if error.code == _EMPTY_RANGE:
                return None
            raise


def _parse_public(url: str | None) -> SplitResult | None:
    """Return where clients reach the server, None where they do not."""
    if url is None:
        return None
    parts = urlsplit(url)
    is_address = parts.scheme in ("http", "https") and parts.netloc
    # The path is part of what is signed: the server would see another.
    if not is_address or parts.path.strip("/") or parts.query or "@" in parts.netloc:
        raise Misconfigured("MINIO_PUBLIC_URL is not an address such as https://minio.example.org.")
    return parts


def _region_of(signed: str) -> str:
    """Return the region in a signed address: its credential is `key/date/region/s3/…`."""
    (credential,) = parse_qs(urlsplit(signed).query)["X-Amz-Credential"]
    return credential.split("/")[-3]


def _release(response: BaseHTTPResponse) -> None:
    response.close()
    response.release_conn()
