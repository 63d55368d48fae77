"""The second stack, stopped and started: what it kept, and what it refuses while decoding."""

import subprocess
from pathlib import Path

import httpx

from tests.conftest import SAMPLE, Stack, upload, wait_for_end
from worker.media import find_ffmpeg


def test_tasks_survive_a_restart(second: Stack, short_wav: Path) -> None:
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
