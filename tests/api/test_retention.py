"""How long tasks are kept."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import httpx
import pytest

from tests.api.support import TASKS, files_of, refused, wait_until
from tests.conftest import Stack, upload, wait_for_end


@pytest.fixture
def api(forgetful: Stack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=forgetful.url, timeout=60) as client:
        yield client


def kept_for(task: dict) -> timedelta:
    ended, until = (datetime.fromisoformat(task[name]) for name in ("finished_at", "expires_at"))
    return until - ended


def test_kept_for_ever(api: httpx.Client, short_wav: Path) -> None:
    task = wait_for_end(api, upload(api, short_wav, reuse="false").json()["id"])
    assert task["status"] == "completed"
    assert task["expires_at"] is None


@pytest.mark.parametrize("reuse", ["true", "false"])
def test_kept_as_long_as_asked_for(api: httpx.Client, short_wav: Path, reuse: str) -> None:
    """It counts from the end; a transcript that is taken over ends at once."""
    made = upload(api, short_wav, keep_hours="1.5", reuse=reuse).json()
    assert made["status"] == "completed" or made["expires_at"] is None
    task = wait_for_end(api, made["id"])
    assert task["status"] == "completed"
    assert kept_for(task) == timedelta(hours=1.5)


def test_work_on_it_makes_it_stay(api: httpx.Client, short_wav: Path) -> None:
    """While the speakers are looked for nothing expires; the time counts from the new end."""
    task_id = upload(api, short_wav, keep_hours="2", reuse="false").json()["id"]
    first = wait_for_end(api, task_id)
    asked = api.post(f"{TASKS}/{task_id}/rediarize")
    assert asked.json()["expires_at"] is None
    second = wait_for_end(api, task_id)
    assert kept_for(second) == timedelta(hours=2)
    assert second["expires_at"] > first["expires_at"]


def test_what_has_expired_is_gone(api: httpx.Client, forgetful: Stack, short_wav: Path) -> None:
    kept = upload(api, short_wav, keep_hours="1").json()["id"]
    task_id = upload(api, short_wav, keep_hours="0.0005", prompt="Laura").json()["id"]
    assert wait_for_end(api, task_id)["status"] == "completed"

    wait_until(lambda: api.get(f"{TASKS}/{task_id}").status_code == 404, 15)

    refused(api.get(f"{TASKS}/{task_id}/result"), 404, "task_not_found")
    assert files_of(forgetful, task_id) == []
    assert wait_for_end(api, kept)["status"] == "completed"
    assert api.get(f"{TASKS}/{kept}/result").status_code == 200
    assert "source" in files_of(forgetful, kept)


def test_what_was_cancelled_is_kept_as_long(waiting: httpx.Client, short_wav: Path) -> None:
    """This API's default is twelve hours."""
    for options, hours in (({}, 12), ({"keep_hours": "2"}, 2)):
        task_id = upload(waiting, short_wav, **options).json()["id"]
        task = waiting.post(f"{TASKS}/{task_id}/cancel").json()
        assert kept_for(task) == timedelta(hours=hours)


@pytest.mark.parametrize("hours", ["0", "-1", "nan", "inf", "1e9", "soon"])
def test_impossible_times(waiting: httpx.Client, short_wav: Path, hours: str) -> None:
    body = refused(upload(waiting, short_wav, keep_hours=hours), 422, "invalid_option")
    assert "keep_hours" in body["message"]
    assert waiting.get(TASKS).json()["tasks"] == []
