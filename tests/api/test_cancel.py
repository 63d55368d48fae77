"""Cancelling over REST, on a real stack."""

from __future__ import annotations

import time
import uuid
from pathlib import Path

import httpx
import psutil
import pytest

from tests.api.support import TASKS, files_of, needs_folder, refused, wait_until, words_of
from tests.conftest import SAMPLE, Stack, upload, wait_for_end

# What the route promises.
STOPS_WITHIN_SECONDS = 5


def engines_of(stack: Stack) -> list[psutil.Process]:
    """The transcriptions that run in a stack's folder."""
    return [
        process
        for process in psutil.process_iter(["name", "cmdline"])
        if process.info["name"] == "whisper-cli"
        and str(stack.data_dir) in " ".join(process.info["cmdline"] or [])
    ]


def start_transcribing(api: httpx.Client, stack: Stack) -> str:
    """Upload the sample, and return when an engine is at it."""
    task_id = upload(api, SAMPLE).json()["id"]
    wait_until(lambda: api.get(f"{TASKS}/{task_id}").json()["stage"] == "transcribe", 60)
    wait_until(lambda: bool(engines_of(stack)), 60)
    return task_id


def test_a_task_that_waits(waiting: httpx.Client, short_wav: Path) -> None:
    task_id = upload(waiting, short_wav).json()["id"]

    answer = waiting.post(f"{TASKS}/{task_id}/cancel")

    assert answer.status_code == 200
    task = waiting.get(f"{TASKS}/{task_id}").json()
    assert task["status"] == answer.json()["status"] == "cancelled"
    assert task["finished_at"] is not None
    assert (task["error"], task["queue_position"]) == (None, None)
    listed = waiting.get(TASKS, params={"status": "cancelled"}).json()["tasks"]
    assert [entry["id"] for entry in listed] == [task_id]


def test_a_second_click_changes_nothing(waiting: httpx.Client, short_wav: Path) -> None:
    task_id = upload(waiting, short_wav).json()["id"]
    first = waiting.post(f"{TASKS}/{task_id}/cancel")
    second = waiting.post(f"{TASKS}/{task_id}/cancel")
    assert (first.status_code, second.status_code) == (200, 200)
    assert second.json() == first.json()


def test_a_running_task_stops_and_can_be_taken_up_again(api: httpx.Client, stack: Stack) -> None:
    task_id = start_transcribing(api, stack)

    answer = api.post(f"{TASKS}/{task_id}/cancel")

    assert answer.status_code == 200
    assert answer.json()["status"] == "cancelled"
    wait_until(lambda: not engines_of(stack), STOPS_WITHIN_SECONDS)
    assert api.get(f"{TASKS}/{task_id}").json()["status"] == "cancelled"
    again = api.post(f"{TASKS}/{task_id}/retry")
    assert again.status_code == 202, again.text
    assert again.headers["Location"] == f"{TASKS}/{task_id}"
    assert again.json()["status"] in ("pending", "processing")
    assert again.json()["attempt"] == 2
    assert again.json()["finished_at"] is None
    task = wait_for_end(api, task_id)
    assert (task["status"], task["stage"], task["error"]) == ("completed", "done", None)
    transcript = api.get(f"{TASKS}/{task_id}/result").json()
    assert transcript["gaps"] == []
    assert transcript["segments"][-1]["end"] > 100
    assert words_of(api, task_id)[:3] == ["Good", "morning", "everyone."]


def test_the_result_of_a_cancelled_task(waiting: httpx.Client, short_wav: Path) -> None:
    task_id = upload(waiting, short_wav).json()["id"]
    waiting.post(f"{TASKS}/{task_id}/cancel").raise_for_status()
    body = refused(waiting.get(f"{TASKS}/{task_id}/result"), 409, "task_cancelled")
    assert "was cancelled" in body["message"]
    assert "retry" in body["message"]


def test_a_completed_task(api: httpx.Client, short_wav: Path) -> None:
    task_id = upload(api, short_wav).json()["id"]
    before = wait_for_end(api, task_id)
    body = refused(api.post(f"{TASKS}/{task_id}/cancel"), 409, "already_ended")
    assert body["details"]["status"] == "completed"
    assert api.get(f"{TASKS}/{task_id}").json() == before


@pytest.mark.parametrize("action", ["cancel", "retry"])
def test_an_unknown_task(api: httpx.Client, action: str) -> None:
    refused(api.post(f"{TASKS}/{uuid.uuid4().hex}/{action}"), 404, "task_not_found")


def test_looking_for_speakers_again_can_be_cancelled(api: httpx.Client, short_wav: Path) -> None:
    """The transcript stays as it was, and the task is as completed as before."""
    task_id = upload(api, short_wav).json()["id"]
    assert wait_for_end(api, task_id)["status"] == "completed"
    before = api.get(f"{TASKS}/{task_id}/result").text
    api.post(f"{TASKS}/{task_id}/rediarize", json={"num_speakers": 2}).raise_for_status()

    answer = api.post(f"{TASKS}/{task_id}/cancel")

    assert answer.status_code == 200
    task = answer.json()
    assert (task["status"], task["stage"], task["error"]) == ("completed", "done", None)
    assert task["finished_at"] is not None
    assert any("It was cancelled. Nothing has changed." in line for line in task["warnings"])
    time.sleep(2)  # whoever was at it notices; nothing comes of it
    assert api.get(f"{TASKS}/{task_id}").json()["status"] == "completed"
    assert api.get(f"{TASKS}/{task_id}/result").text == before
    api.post(f"{TASKS}/{task_id}/rediarize").raise_for_status()
    again = wait_for_end(api, task_id)
    assert again["status"] == "completed"
    assert not any("It was cancelled" in line for line in again["warnings"])


def test_a_task_deleted_while_it_is_transcribed_leaves_nothing(
    api: httpx.Client, stack: Stack
) -> None:
    needs_folder(stack)
    task_id = start_transcribing(api, stack)

    assert api.delete(f"{TASKS}/{task_id}").status_code == 204

    assert api.get(f"{TASKS}/{task_id}").status_code == 404
    wait_until(lambda: not engines_of(stack), STOPS_WITHIN_SECONDS)
    time.sleep(1)
    assert files_of(stack, task_id) == []
    assert api.get(f"{TASKS}/{task_id}").status_code == 404
