"""Clients that go away while they wait: their connections are really closed."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from tests.api.support import TASKS, wait_until
from tests.conftest import wait_for_end

ADDRESSES = {
    "openai": ("/v1/audio/transcriptions", "file"),
    "openai stream": ("/v1/audio/transcriptions?", "file"),
    "asr": ("/asr", "audio_file"),
    "whisper.cpp": ("/inference", "file"),
}


def request_of(dialect: str, path, host: str, on_disconnect: str | None) -> bytes:
    address, field = ADDRESSES[dialect]
    request = httpx.Request(
        "POST",
        f"http://{host}{address}",
        files={field: (path.name, path.read_bytes())},
        data={"stream": "true"} if dialect == "openai stream" else {},
        headers={"X-On-Disconnect": on_disconnect} if on_disconnect else {},
    )
    body = request.read()
    target = request.url.raw_path.decode()
    lines = [f"POST {target} HTTP/1.1", *(f"{k}: {v}" for k, v in request.headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


@contextmanager
def asked(http: httpx.Client, dialect: str, path, on_disconnect: str | None) -> Iterator[str]:
    """Send a request, and go away when its task is there; gives the task's id."""
    host, port = http.base_url.host, http.base_url.port
    with socket.create_connection((host, port), timeout=30) as connection:
        connection.sendall(request_of(dialect, path, f"{host}:{port}", on_disconnect))
        wait_until(lambda: task_of(http, path) is not None, seconds=30)
        yield task_of(http, path)["id"]


def task_of(http: httpx.Client, path) -> dict | None:
    tasks = http.get(TASKS).json()["tasks"]
    return next((task for task in tasks if task["file_name"] == path.name), None)


@pytest.mark.parametrize("dialect", ADDRESSES)
def test_the_task_is_cancelled_where_that_was_asked_for(http, cut, dialect):
    with asked(http, dialect, cut(f"left-{dialect}", 0, 70), "cancel") as task_id:
        assert http.get(f"{TASKS}/{task_id}").json()["status"] in ("pending", "processing")
    assert wait_for_end(http, task_id)["status"] == "cancelled"


@pytest.mark.parametrize(
    ("dialect", "on_disconnect"), [("openai", None), ("openai stream", "continue")]
)
def test_the_task_goes_on_otherwise(http, cut, dialect, on_disconnect):
    path = cut(f"kept-{dialect}", 0, 20)
    with asked(http, dialect, path, on_disconnect) as task_id:
        assert http.get(f"{TASKS}/{task_id}").json()["status"] in ("pending", "processing")
    assert wait_for_end(http, task_id)["status"] == "completed"
    text = http.get(f"{TASKS}/{task_id}/result").json()["text"]
    assert text.startswith("Good morning everyone.")


def test_an_unknown_wish_is_refused(http, speech):
    answer = http.post(
        "/v1/audio/transcriptions",
        files={"file": speech.open("rb")},
        headers={"X-On-Disconnect": "sulk"},
    )
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "X-On-Disconnect"


def test_a_place_among_those_who_wait_is_given_back(polyglot, cut):
    """At `polyglot`, one request of an owner may wait: the next one is not refused."""
    for dialect in ("openai", "openai stream"):
        with asked(polyglot, dialect, cut(f"place-{dialect}", 0, 60), "cancel"):
            pass
        again = cut(f"next-{dialect}", 0, 3)

        def waits(path=again) -> bool:
            with path.open("rb") as file:
                answer = polyglot.post("/inference", files={"file": file})
            return answer.status_code != 429

        wait_until(waits)
