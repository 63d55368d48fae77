"""Engines and work-horses that die, and stages that cannot succeed."""

import signal
import time
from pathlib import Path

import httpx
import psutil
import pytest

from tests.conftest import SAMPLE, Stack, upload, wait_for_end


@pytest.fixture(scope="module")
def undisturbed(stack: Stack) -> str:
    with httpx.Client(base_url=stack.url, timeout=60) as api:
        return finished_text(api, upload(api, SAMPLE).json()["id"])


def finished_text(api: httpx.Client, task_id: str) -> str:
    task = wait_for_end(api, task_id, seconds=170)
    assert task["status"] == "completed", task
    return api.get(f"/api/v1/tasks/{task_id}/result", params={"format": "txt"}).text


def find_whisper(stack: Stack, seconds: float = 60) -> psutil.Process:
    """Wait for a whisper-cli that works in this stack's folder."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for process in psutil.process_iter(["name", "cmdline"]):
            command = " ".join(process.info["cmdline"] or [])
            if process.info["name"] == "whisper-cli" and str(stack.data_dir) in command:
                return process
        time.sleep(0.02)
    pytest.fail("no whisper-cli ran")


def test_killed_engine_is_run_again(api: httpx.Client, stack: Stack, undisturbed: str) -> None:
    task_id = upload(api, SAMPLE).json()["id"]
    find_whisper(stack).send_signal(signal.SIGKILL)

    assert finished_text(api, task_id) == undisturbed


def test_killed_work_horse_takes_its_engine_along_and_is_replaced(
    api: httpx.Client, stack: Stack, undisturbed: str
) -> None:
    task_id = upload(api, SAMPLE).json()["id"]
    engine = find_whisper(stack)
    work_horse = engine.parent()
    assert work_horse is not None
    work_horse.send_signal(signal.SIGKILL)

    psutil.wait_procs([engine], timeout=10)
    assert not engine.is_running() or engine.status() == psutil.STATUS_ZOMBIE
    assert finished_text(api, task_id) == undisturbed


def test_a_failure_for_good_ends_the_task_with_a_reason(
    api: httpx.Client, stack: Stack, short_wav: Path
) -> None:
    """The stored upload vanishes before a consumer gets to it: no attempt can succeed."""
    objects = stack.data_dir / "objects" / "jobs"
    if not objects.exists():
        pytest.skip("objects are in MinIO")
    # Two jobs keep both consumers busy while the third's recording is taken away.
    ahead = [upload(api, SAMPLE).json()["id"] for _ in range(2)]
    task_id = upload(api, short_wav).json()["id"]
    (objects / task_id / "source").unlink()

    task = wait_for_end(api, task_id)

    assert task["status"] == "failed"
    assert task["error"]["code"] == "object_not_found"
    assert not task["error"]["retryable"]
    answer = api.get(f"/api/v1/tasks/{task_id}/result")
    assert answer.status_code == 409
    assert answer.json()["code"] == "task_failed"
    for task_id in ahead:
        wait_for_end(api, task_id)
