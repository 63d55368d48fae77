"""What the tests of several endpoints need."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import wave
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from tests.conftest import ROOT, Stack, free_port, wait_until_ready

TASKS = "/api/v1/tasks"
KEYS = "/api/v1/keys"


def refused(response: httpx.Response, status: int, code: str) -> dict:
    """The body of an error, which has the shape of all."""
    assert response.status_code == status, response.text
    body = response.json()
    assert body["code"] == code
    assert body["message"].endswith(".")
    return body


def words_of(api: httpx.Client, task_id: str) -> list[str]:
    response = api.get(f"{TASKS}/{task_id}/result")
    assert response.status_code == 200, response.text
    assert response.json()["job_id"] == task_id
    return response.json()["text"].split()


def wait_until(holds: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.05)


def files_of(stack: Stack, task_id: str) -> list[str]:
    """The names of the objects stored for a task."""
    folder = stack.data_dir / "objects" / "jobs" / task_id
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def needs_folder(stack: Stack) -> None:
    if not (stack.data_dir / "objects").exists():
        pytest.skip("objects are in MinIO")


@contextmanager
def api_process(environment: dict[str, str], **settings: str) -> Iterator[httpx.Client]:
    """The API alone, on the servers that the environment names."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "main.py"), "start", "--port", str(port)],
        env=environment | settings,
        cwd=ROOT,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until_ready(url)
        with httpx.Client(base_url=url, timeout=60) as client:
            yield client
    finally:
        process.terminate()
        process.wait(30)


def answer_to_a_part(api: httpx.Client) -> str:
    """What is said to an upload of 100 MB of which only the beginning is ever sent."""
    host, port = api.base_url.host, api.base_url.port
    part = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\nRIFF'
    head = (
        f"POST {TASKS}/upload HTTP/1.1\r\nHost: {host}\r\nContent-Length: 100000000\r\n"
        "Content-Type: multipart/form-data; boundary=x\r\n\r\n"
    )
    answer = b""
    with socket.create_connection((host, port), timeout=10) as sock:
        sock.sendall(head.encode() + part)
        while b'"request_id"' not in answer and (received := sock.recv(65536)):
            answer += received
    return answer.decode()


def unlike(path: Path, folder: Path, name: str) -> Path:
    """A copy of a recording with other bytes, and the same words."""
    copy = folder / f"{name}.wav"
    with wave.open(str(path)) as source, wave.open(str(copy), "wb") as out:
        out.setparams(source.getparams())
        out.writeframes(source.readframes(source.getnframes()) + name.encode() * 2)
    return copy


def own_address() -> str:
    """An address of this machine that is not loopback; the test is skipped where there is none."""
    for addresses in psutil.net_if_addrs().values():
        for found in addresses:
            if found.family == socket.AF_INET and not found.address.startswith("127."):
                return found.address
    pytest.skip("this machine has no address but loopback")


def key_of(admin: httpx.Client, owner: str, *scopes: str) -> str:
    """The token of a new key."""
    made = admin.post(KEYS, json={"owner": owner, "name": "test", "scopes": scopes or ["write"]})
    assert made.status_code == 201, made.text
    return made.json()["token"]


def key_id(token: str) -> str:
    return token.split("_")[1]


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}
