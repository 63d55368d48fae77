"""A stack of its own, stopped and started: what it kept, and what it refuses while decoding."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.conftest import SAMPLE, Stack, clean_environment, free_port, upload, wait_for_end
from worker.media import find_ffmpeg


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Another embedded stack beside the first; it takes recordings of up to fifteen seconds."""
    data_dir = tmp_path_factory.mktemp("second stack 100%")
    port = free_port()
    environment = clean_environment(
        DATA_DIR=str(data_dir),
        API_PORT=str(port),
        CONSUMER_CONCURRENCY="1",
        MAX_DURATION_SECONDS="15",
    )
    stack = Stack(f"http://127.0.0.1:{port}", data_dir, environment)
    yield stack
    stack.command("down")


def test_tasks_survive_a_restart(second: Stack, short_wav: Path) -> None:
    second.command("up", "--detach")
    with httpx.Client(base_url=second.url, timeout=60) as api:
        finished = upload(api, short_wav).json()["id"]
        wait_for_end(api, finished)
        waiting = upload(api, short_wav).json()["id"]
    second.command("down")
    assert "nothing was running" in second.command("down").stderr

    second.command("up", "--detach")
    assert "already running" in second.command("up", "--detach").stderr
    with httpx.Client(base_url=second.url, timeout=60) as api:
        assert api.get(f"/api/v1/tasks/{finished}/result").status_code == 200
        assert wait_for_end(api, waiting)["status"] == "completed"


def test_declared_duration_over_the_limit(second: Stack) -> None:
    with httpx.Client(base_url=second.url, timeout=60) as api:
        response = upload(api, SAMPLE)

    assert response.status_code == 413
    assert response.json()["code"] == "audio_too_long"
    assert response.json()["details"]["max_duration_seconds"] == 15


def test_undeclared_duration_over_the_limit(second: Stack, tmp_path: Path) -> None:
    """A stream that does not say how long it is: refused once that many seconds are decoded."""
    path = tmp_path / "stream.flac"
    with path.open("wb") as out:
        argv = [find_ffmpeg(), "-loglevel", "error", "-i", str(SAMPLE), "-f", "flac", "pipe:1"]
        subprocess.run(argv, check=True, stdout=out, timeout=60)

    with httpx.Client(base_url=second.url, timeout=60) as api:
        response = upload(api, path)
        assert response.status_code == 202
        task = wait_for_end(api, response.json()["id"])

    assert task["status"] == "failed"
    assert task["error"]["code"] == "audio_too_long"
