"""Downloads from a real server that serves well, badly, and not at all."""

from __future__ import annotations

import asyncio
import gzip
import os
import threading
from collections.abc import Callable, Iterator

import pytest

import core.download
from core.download import download, host_of
from core.errors import InvalidInput, Unreachable
from core.outgoing import OutgoingClient
from tests.remote import (
    Behaviour,
    Remote,
    Request,
    a_remote,
    broken_once,
    in_parts,
    plainly,
    redirecting,
    refusing,
    unending,
)

CONTENT = os.urandom(300_000)
OTHER = os.urandom(300_000)
PART = 100_000
LIMIT = 1_000_000


@pytest.fixture
def remote() -> Iterator[Remote]:
    with a_remote() as server:
        yield server


@pytest.fixture
def pauses(monkeypatch) -> list[float]:
    """Nobody waits here; these are the seconds that would have been waited."""
    slept: list[float] = []
    real = asyncio.sleep

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        await real(0)

    monkeypatch.setattr(core.download.asyncio, "sleep", sleep)
    return slept


@pytest.fixture
def fetch(make_settings, remote, pauses, tmp_path) -> Callable:
    """Download what a behaviour serves; returns the bytes and the name."""
    outgoing = OutgoingClient(make_settings(allowed_networks=["127.0.0.1/32"]))

    async def run(behaviour: Behaviour, path: str = "/talk.mp3") -> tuple[bytes, str]:
        url = remote.serve(path, behaviour)
        target = tmp_path / "target"
        name = await download(outgoing, f"{url}?token=secret", target, max_bytes=LIMIT)
        return target.read_bytes(), name

    return run


async def refused(fetching, code: str) -> InvalidInput:
    with pytest.raises(InvalidInput) as raised:
        await fetching
    assert raised.value.error_code == code
    assert "secret" not in raised.value.message
    return raised.value


async def test_a_file(fetch, remote):
    assert await fetch(plainly(CONTENT)) == (CONTENT, "talk.mp3")
    (headers,) = remote.asked("/talk.mp3")
    assert headers["Accept-Encoding"] == "identity"
    assert "Range" not in headers


async def test_a_connection_that_breaks_is_resumed(fetch, remote, pauses):
    assert (await fetch(in_parts(CONTENT, PART)))[0] == CONTENT
    asked = remote.asked("/talk.mp3")
    assert [headers.get("Range") for headers in asked] == [
        None, f"bytes={PART}-", f"bytes={2 * PART}-",
    ]  # fmt: skip
    assert {headers.get("If-Range") for headers in asked[1:]} == {'"1"'}
    assert pauses == [0.5, 1.0]


async def test_a_server_that_knows_no_ranges_is_asked_for_all_of_it_again(fetch):
    assert (await fetch(broken_once(CONTENT, PART, ETag='"1"')))[0] == CONTENT


async def test_a_file_that_changed_meanwhile_is_fetched_anew(fetch, remote):
    changed = broken_once(CONTENT, PART, plainly(OTHER, ETag='"2"'), ETag='"1"')
    assert (await fetch(changed))[0] == OTHER
    assert remote.asked("/talk.mp3")[1]["If-Range"] == '"1"'


async def test_the_rest_of_another_version_is_not_added(fetch):
    """A server may ignore If-Range."""

    def behave(request: Request) -> None:
        if len(request.server.remote.requests) == 2:
            rest = OTHER[request.first_byte :]
            span = f"bytes {request.first_byte}-{len(OTHER) - 1}/{len(OTHER)}"
            request.answer(rest, status=206, ETag='"2"', Content_Range=span)
        else:
            request.answer(OTHER, ETag='"2"')

    assert (await fetch(broken_once(CONTENT, PART, behave, ETag='"1"')))[0] == OTHER


@pytest.mark.parametrize("etag", [{}, {"ETag": 'W/"1"'}])
async def test_what_cannot_be_told_apart_is_fetched_anew(fetch, remote, etag):
    assert (await fetch(broken_once(CONTENT, PART, **etag)))[0] == CONTENT
    assert all("Range" not in headers for headers in remote.asked("/talk.mp3"))


async def test_an_error_in_between_is_passed_over(fetch):
    def behave(request: Request) -> None:
        if len(request.server.remote.requests) == 2:
            request.answer(b"", status=503)
        else:
            in_parts(CONTENT, len(CONTENT))(request)

    assert (await fetch(broken_once(CONTENT, PART, behave, ETag='"1"')))[0] == CONTENT


async def test_it_gives_up_on_a_server_that_always_breaks_off(fetch, remote, pauses):
    with pytest.raises(Unreachable) as raised:
        await fetch(lambda request: request.answer(CONTENT, sent=PART))
    assert "secret" not in raised.value.message
    assert len(remote.requests) == 6
    assert pauses == sorted(pauses)


async def test_as_long_as_it_comes_forward_it_goes_on(fetch, remote, monkeypatch):
    monkeypatch.setattr(core.download, "_PROGRESS_BYTES", 20_000)
    assert (await fetch(in_parts(CONTENT, 20_000)))[0] == CONTENT
    assert len(remote.requests) == 15


async def test_a_body_without_a_length(fetch):
    stop = threading.Event()

    def behave(request: Request) -> None:
        stop.set()
        unending(b"", stop)(request)

    assert (await fetch(behave))[0] == b""


@pytest.mark.parametrize(
    "behaviour",
    [
        lambda request: request.answer(b"", Content_Length=str(LIMIT + 1), sent=0),
        unending(bytes(200_000), threading.Event()),
        in_parts(bytes(LIMIT + 1), 900_000),
    ],
    ids=["declared", "unending", "in parts"],
)
async def test_too_much(fetch, behaviour, tmp_path):
    error = await refused(fetch(behaviour), "file_too_large")
    assert "0.95" in error.message
    assert (tmp_path / "target").stat().st_size <= LIMIT


@pytest.mark.parametrize("status", [204, 304, 400, 401, 403, 404, 410, 451])
async def test_refusals(fetch, remote, status):
    error = await refused(fetch(refusing(status)), "url_refused")
    assert error.details["status"] == status
    assert "127.0.0.1" in error.message
    assert len(remote.requests) == 1


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
async def test_what_may_pass(fetch, remote, status):
    with pytest.raises(Unreachable):
        await fetch(refusing(status))
    assert len(remote.requests) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_followed(fetch, remote, status):
    remote.serve("/store/b", plainly(CONTENT))
    remote.serve("/a", redirecting("store/b", status))
    got = await fetch(redirecting(f"{remote.url}/a", status))
    assert got == (CONTENT, "talk.mp3")


@pytest.mark.parametrize(
    "to",
    ["http://10.0.0.1/a.mp3", "http://[::1]/a.mp3", "http://169.254.169.254/latest/meta-data/"],
)
async def test_a_redirect_to_a_private_address(fetch, to):
    await refused(fetch(redirecting(to)), "url_not_allowed")


@pytest.mark.parametrize("to", ["file:///etc/passwd", "ftp://example.org/a.mp3", "gopher://x"])
async def test_a_redirect_to_another_protocol(fetch, to):
    await refused(fetch(redirecting(to)), "url_invalid")


async def test_endless_redirects(fetch, remote):
    await refused(fetch(redirecting("/talk.mp3")), "url_refused")
    assert len(remote.requests) == 6


async def test_a_redirect_to_nowhere(fetch):
    await refused(fetch(refusing(302)), "url_refused")


async def test_a_redirect_to_what_is_no_address(fetch):
    with pytest.raises(Unreachable):
        await fetch(redirecting("http://nowhere:x"))


async def test_what_is_compressed_all_the_same_stays_so(fetch):
    bomb = gzip.compress(bytes(50 * LIMIT))
    assert len(bomb) < LIMIT
    assert (await fetch(plainly(bomb, Content_Encoding="gzip")))[0] == bomb


async def test_a_slow_server(fetch, monkeypatch):
    monkeypatch.setattr(core.download, "DOWNLOAD_SECONDS", 0.3)
    error = await refused(fetch(unending(b"x", threading.Event())), "url_too_slow")
    assert "127.0.0.1" in error.message


async def test_where_nobody_is(make_settings, closed_port, tmp_path):
    outgoing = OutgoingClient(make_settings(allowed_networks=["127.0.0.1/32"]))
    url = f"http://127.0.0.1:{closed_port}/a?token=secret"
    with pytest.raises(Unreachable) as raised:
        await download(outgoing, url, tmp_path / "target", max_bytes=LIMIT)
    assert "secret" not in raised.value.message


@pytest.mark.parametrize(
    ("disposition", "path", "name"),
    [
        ('attachment; filename="a talk.mp3"', "/x", "a talk.mp3"),
        ("attachment; filename=plain.mp3; filename*=UTF-8''%C3%9Cbung.mp3", "/x", "Übung.mp3"),
        ("attachment", "/x/y%20z.mp3", "y z.mp3"),
        ("", "/x/", "127.0.0.1"),
        ("attachment; filename*=nonsense''%ff", "/x", "ÿ"),
    ],
)
async def test_names(fetch, disposition, path, name):
    headers = {"Content_Disposition": disposition} if disposition else {}
    assert (await fetch(plainly(CONTENT, **headers), path))[1] == name


def test_what_is_shown_of_an_address():
    assert host_of("https://user:password@example.org:8443/secret?token=x") == "example.org"
    assert host_of("http://x:y/secret") == "the address"
