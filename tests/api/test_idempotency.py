"""Idempotency-Keys over REST: an upload that is sent again makes no second task.

All but the last on an API whose tasks stay as they are.
"""

from __future__ import annotations

import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.api.support import TASKS, refused, unlike
from tests.conftest import upload, wait_for_end


@pytest.fixture
def key() -> str:
    return uuid.uuid4().hex


def send(api: httpx.Client, key: str, path: Path, **options: str) -> httpx.Response:
    with path.open("rb") as file:
        return api.post(
            f"{TASKS}/upload",
            files={"file": (path.name, file)},
            data=options,
            headers={"Idempotency-Key": key},
        )


def ids_of(api: httpx.Client) -> list[str]:
    return [task["id"] for task in api.get(TASKS).json()["tasks"]]


def test_the_same_upload_again(
    waiting: httpx.Client, key: str, short_wav: Path, tmp_path: Path
) -> None:
    first = send(waiting, key, short_wav, prompt="Laura")
    copy = tmp_path / "another name.wav"
    copy.write_bytes(short_wav.read_bytes())

    second = send(waiting, key, copy, prompt="Laura")

    assert (first.status_code, second.status_code) == (202, 202)
    assert "Idempotent-Replayed" not in first.headers
    assert second.headers["Idempotent-Replayed"] == "true"
    assert second.headers["Location"] == first.headers["Location"]
    assert second.json()["id"] == first.json()["id"]
    assert ids_of(waiting) == [first.json()["id"]]


def test_without_a_key_each_upload_is_a_task(waiting: httpx.Client, short_wav: Path) -> None:
    ids = {upload(waiting, short_wav).json()["id"] for _ in range(2)}
    assert set(ids_of(waiting)) == ids
    assert len(ids) == 2


def test_another_key_makes_another_task(waiting: httpx.Client, key: str, short_wav: Path) -> None:
    ids = [send(waiting, name, short_wav).json()["id"] for name in (key, f"{key}2")]
    assert ids_of(waiting) == ids[::-1]


@pytest.mark.parametrize("options", [{"prompt": "Laura"}, {"diarize": "true"}, {"keep_hours": "5"}])
def test_other_options_under_the_same_key(
    waiting: httpx.Client, key: str, short_wav: Path, options: dict[str, str]
) -> None:
    task_id = send(waiting, key, short_wav).json()["id"]
    refused(send(waiting, key, short_wav, **options), 422, "idempotency_key_reused")
    assert ids_of(waiting) == [task_id]


def test_another_recording_under_the_same_key(
    waiting: httpx.Client, key: str, short_wav: Path, tmp_path: Path
) -> None:
    task_id = send(waiting, key, short_wav).json()["id"]
    other = unlike(short_wav, tmp_path, "other")
    refused(send(waiting, key, other), 422, "idempotency_key_reused")
    assert ids_of(waiting) == [task_id]


def test_a_refused_upload_frees_its_key(
    waiting: httpx.Client, key: str, short_wav: Path, tmp_path: Path
) -> None:
    notes = tmp_path / "notes.mp3"
    notes.write_text("this is no recording\n" * 100)
    for _ in range(2):
        refused(send(waiting, key, notes), 415, "unsupported_media")

    answer = send(waiting, key, short_wav)

    assert answer.status_code == 202, answer.text
    assert "Idempotent-Replayed" not in answer.headers


def test_the_key_of_a_deleted_task_makes_a_new_one(
    waiting: httpx.Client, key: str, short_wav: Path
) -> None:
    first = send(waiting, key, short_wav).json()["id"]
    waiting.delete(f"{TASKS}/{first}").raise_for_status()

    answer = send(waiting, key, short_wav, prompt="Laura")

    assert answer.status_code == 202, answer.text
    assert "Idempotent-Replayed" not in answer.headers
    assert ids_of(waiting) == [answer.json()["id"]]
    assert answer.json()["id"] != first


def test_many_at_once_make_one_task(waiting: httpx.Client, key: str, short_wav: Path) -> None:
    def one(_: int) -> httpx.Response:
        with httpx.Client(base_url=waiting.base_url, timeout=60) as client:
            deadline = time.monotonic() + 30
            while True:
                answer = send(client, key, short_wav)
                if answer.status_code != 409 or time.monotonic() > deadline:
                    return answer
                refused(answer, 409, "idempotency_key_in_use")
                time.sleep(float(answer.headers["Retry-After"]) / 10)

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(one, range(20)))

    assert [answer.status_code for answer in answers] == [202] * 20
    (task_id,) = {answer.json()["id"] for answer in answers}
    assert ids_of(waiting) == [task_id]
    assert sum("Idempotent-Replayed" not in answer.headers for answer in answers) == 1


@pytest.mark.parametrize("unusable", ["", "x" * 256])
def test_unusable_keys(waiting: httpx.Client, short_wav: Path, unusable: str) -> None:
    refused(send(waiting, unusable, short_wav), 422, "invalid_option")
    assert ids_of(waiting) == []


def test_a_finished_task_is_answered_as_it_is(api: httpx.Client, key: str, short_wav: Path) -> None:
    task_id = send(api, key, short_wav).json()["id"]
    assert wait_for_end(api, task_id)["status"] == "completed"
    again = send(api, key, short_wav)
    assert again.status_code == 202
    assert again.headers["Idempotent-Replayed"] == "true"
    assert (again.json()["id"], again.json()["status"]) == (task_id, "completed")
