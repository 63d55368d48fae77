"""Downloading a file from an address that a client named, over connections that may break.

May import `core.errors`, `core.logger` and `core.outgoing`. An address may hold secrets: nothing
here logs one, and errors name its host alone.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.message import Message
from email.utils import collapse_rfc2231_value
from pathlib import Path
from typing import BinaryIO

import httpx

from core.errors import AppError, InvalidInput, Unreachable
from core.logger import logger
from core.outgoing import OutgoingClient

# A file that has not come in this time will not: meanwhile, it holds up whoever waits for it.
DOWNLOAD_SECONDS = 1800.0

_SILENCE_SECONDS = 30.0
_MOST_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)
# Statuses that may be others in a moment, besides those of failing servers (5xx).
_PASSING = (408, 425, 429)

# How often a broken connection is made again while (almost) nothing comes of it.
_MOST_RESUMPTIONS = 5
_PROGRESS_BYTES = 1 << 20
_FIRST_PAUSE_SECONDS = 0.5
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


async def download(outgoing: OutgoingClient, url: str, target: Path, *, max_bytes: int) -> str:
    """Fetch a file; a connection that breaks is made again, for the rest of it.

    Redirects are followed, each to an address that is checked like the first.

    Args:
        outgoing: Sends the requests.
        url: Of the file; http or https.
        target: A file to be written, with what has come so far if this fails.
        max_bytes: The most accepted, counted while it arrives.

    Returns:
        What the file is called over there. Made by strangers: not fit to be shown as it is.

    Raises:
        InvalidInput: The address cannot be used (`url_invalid`, `url_not_allowed`), the other side
            refuses it (`url_refused`), or the file is too large (`file_too_large`) or does not
            arrive in half an hour (`url_too_slow`).
        Unreachable: The other side cannot be reached, or fails (retryable).
        OSError: The file cannot be written.
    """
    fetching = _Download(outgoing, url, max_bytes)
    limit = asyncio.timeout(DOWNLOAD_SECONDS)
    try:
        async with limit:
            with target.open("wb") as file:
                await fetching.run(file)
    except TimeoutError as error:
        if not limit.expired():
            raise
        raise InvalidInput(
            f"The file from {host_of(url)} had not arrived after {DOWNLOAD_SECONDS / 60:.0f} "
            "minutes. Download it, and upload it here.",
            code="url_too_slow",
        ) from error
    return fetching.name


def host_of(url: str) -> str:
    """Return what may be shown of an address, for it may hold secrets."""
    try:
        return httpx.URL(url).host or "the address"
    except httpx.InvalidURL:
        return "the address"


class _Download:
    """A file on its way, and how far it has come."""

    def __init__(self, outgoing: OutgoingClient, url: str, max_bytes: int) -> None:
        self._outgoing = outgoing
        self._url = url
        self._host = host_of(url)
        self._max_bytes = max_bytes
        self._position = 0
        self._validator: str | None = None  # what the rest has to belong to
        self._has_begun = False
        self.name = ""

    async def run(self, file: BinaryIO) -> None:
        """Ask for the file, and for what is missing of it, until it is whole."""
        resumptions = 0
        while True:
            before = self._position
            try:
                async with self._answer() as response:
                    await self._take(response, file)
            except Unreachable as error:
                if self._position - before >= _PROGRESS_BYTES:
                    resumptions = 0
                resumptions += 1
                # Where nothing has ever come, nothing is lost: others decide when to try again.
                if not self._has_begun or resumptions > _MOST_RESUMPTIONS:
                    raise
                logger.info("the connection broke after {} bytes: {}", self._position, error)
            else:
                return
            await asyncio.sleep(_FIRST_PAUSE_SECONDS * 2 ** (resumptions - 1))

    @asynccontextmanager
    async def _answer(self) -> AsyncIterator[httpx.Response]:
        """Yield the answer at the end of all redirects."""
        url = self._url
        # What is compressed would have to be measured again, and can be a bomb.
        headers = {"Accept-Encoding": "identity"}
        if self._position and self._validator:
            headers |= {"Range": f"bytes={self._position}-", "If-Range": self._validator}
        for _ in range(_MOST_REDIRECTS + 1):
            async with self._outgoing.stream(
                "GET", url, headers=headers, read_seconds=_SILENCE_SECONDS
            ) as response:
                location = response.headers.get("Location")
                if response.status_code not in _REDIRECTS or location is None:
                    yield response
                    return
            url = str(httpx.URL(url).join(location))
        raise self._refusal("redirects again and again.")

    async def _take(self, response: httpx.Response, file: BinaryIO) -> None:
        """Write what an answer brings to where it belongs."""
        status = response.status_code
        if status in _PASSING or status >= 500:
            raise Unreachable(f"The server at {self._host} answered {status}.", status=status)
        if status == 206 and self._continues(response):
            length = _total(response)
        elif status == 200:
            self._begin_anew()
            self._validator = _strong_etag(response)
            self.name = _name_in(response) or _name_of(self._url)
            length = _length(response)
        elif status in (206, 416):
            # Not the part that was asked for: next time, all of it.
            self._begin_anew()
            raise Unreachable(f"The server at {self._host} answered with another part.")
        else:
            raise self._refusal(f"answered {status}.", status=status)
        self._check_size(length)
        await asyncio.to_thread(_cut, file, self._position)
        async for block in response.aiter_raw():
            self._check_size(self._position + len(block))
            await asyncio.to_thread(file.write, block)
            self._position += len(block)
            self._has_begun = True

    def _begin_anew(self) -> None:
        self._position, self._validator = 0, None

    def _continues(self, response: httpx.Response) -> bool:
        """Whether a part follows what is there, of the same version of the file."""
        found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        is_same = self._validator is not None and _strong_etag(response) == self._validator
        return found is not None and int(found[1]) == self._position and is_same

    def _check_size(self, size: int) -> None:
        if size > self._max_bytes:
            raise too_large(self._max_bytes)

    def _refusal(self, what: str, **details: int) -> AppError:
        return InvalidInput(
            f"The server at {self._host} {what} Check the address, and whether it can be fetched "
            "without a login.",
            code="url_refused",
            **details,
        )


def too_large(max_bytes: int) -> InvalidInput:
    """Return the refusal of a file that is larger than accepted."""
    return InvalidInput(
        f"The file is larger than {max_bytes / 1024 / 1024:g} MiB, the most accepted here. "
        "Compress it (an hour of speech is 30 MB as mp3) or split it.",
        code="file_too_large",
    )


def _cut(file: BinaryIO, position: int) -> None:
    file.seek(position)
    file.truncate()


def _strong_etag(response: httpx.Response) -> str | None:
    """Return what names these very bytes; a weak one (W/"…") does not."""
    etag: str = response.headers.get("ETag", "")
    return etag if etag.startswith('"') else None


def _length(response: httpx.Response) -> int:
    text = response.headers.get("Content-Length", "")
    return int(text) if text.isdecimal() else 0


def _total(response: httpx.Response) -> int:
    total = response.headers["Content-Range"].rpartition("/")[2]
    return int(total) if total.isdecimal() else 0


def _name_in(response: httpx.Response) -> str:
    """Return the name that a server gives its file (RFC 6266), empty where it gives none."""
    message = Message()
    message["Content-Disposition"] = response.headers.get("Content-Disposition", "")
    parameters = message.get_params([], header="Content-Disposition")
    names = [value for key, value in parameters if key.lower() == "filename"]
    # Of two, one is for programs that know ASCII alone; the other came in three parts.
    names.sort(key=lambda value: isinstance(value, str))
    return collapse_rfc2231_value(names[0]) if names else ""


def _name_of(url: str) -> str:
    return httpx.URL(url).path.rpartition("/")[2] or host_of(url)
