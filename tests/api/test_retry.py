"""Trying again over REST, on a real stack."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from tests.api.support import TASKS, needs_folder, refused, words_of
from tests.conftest import Stack, upload, wait_for_end


@pytest.fixture
def failed(stack: Stack, api: httpx.Client, short_wav: Path) -> str:
    """A task that failed at its second attempt, for its stored recording is not there."""
    needs_folder(stack)
    task_id = upload(api, short_wav).json()["id"]
    # Cancelled first, so that nobody reads the recording before it is away.
    api.post(f"{TASKS}/{task_id}/cancel").raise_for_status()
    source_of(stack, task_id).unlink()
    assert api.post(f"{TASKS}/{task_id}/retry").json()["attempt"] == 2
    assert wait_for_end(api, task_id)["status"] == "failed"
    return task_id


def source_of(stack: Stack, task_id: str) -> Path:
    return stack.data_dir / "objects" / "jobs" / task_id / "source"


def test_what_failed_completes_once_its_cause_is_gone(
    api: httpx.Client, stack: Stack, failed: str, short_wav: Path
) -> None:
    task = api.get(f"{TASKS}/{failed}").json()
    assert task["error"]["code"] == "object_not_found"
    body = refused(api.get(f"{TASKS}/{failed}/result"), 409, "task_failed")
    assert task["error"]["message"] in body["message"]
    source_of(stack, failed).parent.mkdir(exist_ok=True)
    source_of(stack, failed).write_bytes(short_wav.read_bytes())

    answer = api.post(f"{TASKS}/{failed}/retry")

    assert answer.status_code == 202, answer.text
    assert answer.headers["Location"] == f"{TASKS}/{failed}"
    begun = answer.json()
    assert begun["status"] in ("pending", "processing")
    assert (begun["attempt"], begun["error"], begun["finished_at"]) == (3, None, None)
    done = wait_for_end(api, failed)
    assert (done["status"], done["stage"], done["error"]) == ("completed", "done", None)
    assert (done["attempt"], done["progress"]["percent"]) == (3, 100)
    assert words_of(api, failed)[:3] == ["Good", "morning", "everyone."]


def test_what_fails_again_says_why_again(api: httpx.Client, failed: str) -> None:
    assert api.post(f"{TASKS}/{failed}/retry").status_code == 202
    task = wait_for_end(api, failed)
    assert (task["status"], task["attempt"]) == ("failed", 3)
    assert task["error"]["code"] == "object_not_found"


def test_a_failed_task_cannot_be_cancelled(api: httpx.Client, failed: str) -> None:
    body = refused(api.post(f"{TASKS}/{failed}/cancel"), 409, "already_ended")
    assert body["details"]["status"] == "failed"


def test_a_completed_task_without_gaps(api: httpx.Client, short_wav: Path) -> None:
    task_id = upload(api, short_wav).json()["id"]
    before = wait_for_end(api, task_id)
    assert (before["status"], before["attempt"]) == ("completed", 1)
    body = refused(api.post(f"{TASKS}/{task_id}/retry"), 409, "nothing_to_retry")
    assert body["details"]["status"] == "completed"
    assert api.get(f"{TASKS}/{task_id}").json() == before


def test_a_task_that_waits(waiting: httpx.Client, short_wav: Path) -> None:
    task_id = upload(waiting, short_wav).json()["id"]
    body = refused(waiting.post(f"{TASKS}/{task_id}/retry"), 409, "nothing_to_retry")
    assert body["details"]["status"] == "pending"
    assert waiting.get(f"{TASKS}/{task_id}").json()["attempt"] == 1


def test_two_clicks_begin_it_once(waiting: httpx.Client, short_wav: Path) -> None:
    task_id = upload(waiting, short_wav).json()["id"]
    waiting.post(f"{TASKS}/{task_id}/cancel").raise_for_status()
    answers = [waiting.post(f"{TASKS}/{task_id}/retry") for _ in range(2)]
    assert answers[0].status_code == 202
    refused(answers[1], 409, "nothing_to_retry")
    task = waiting.get(f"{TASKS}/{task_id}").json()
    assert (task["status"], task["attempt"]) == ("pending", 2)
