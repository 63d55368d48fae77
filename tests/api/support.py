"""What the tests of several endpoints need."""

from __future__ import annotations

import subprocess
import sys
import time
import wave
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.conftest import ROOT, Stack, free_port, wait_until_ready

TASKS = "/api/v1/tasks"


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


def unlike(path: Path, folder: Path, name: str) -> Path:
    """A copy of a recording with other bytes, and the same words."""
    copy = folder / f"{name}.wav"
    with wave.open(str(path)) as source, wave.open(str(copy), "wb") as out:
        out.setparams(source.getparams())
        out.writeframes(source.readframes(source.getnframes()) + name.encode() * 2)
    return copy
