"""The same recording again: its transcript is taken over, and is a task's own from then on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.api.support import TASKS, files_of, unlike, words_of
from tests.conftest import Stack, upload, wait_for_end


@pytest.fixture
def api(forgetful: Stack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=forgetful.url, timeout=60) as client:
        yield client


@pytest.fixture
def recording(short_wav: Path, tmp_path: Path) -> Path:
    """Bytes that nobody has uploaded."""
    return unlike(short_wav, tmp_path, tmp_path.parent.name + tmp_path.name)


@pytest.fixture
def first(api: httpx.Client, recording: Path) -> dict:
    """A task that had to be worked on."""
    task = wait_for_end(api, upload(api, recording).json()["id"])
    assert (task["status"], task["reused_from"]) == ("completed", None)
    return task


def test_completed_at_once(
    api: httpx.Client, forgetful: Stack, recording: Path, first: dict
) -> None:
    copy = recording.with_name("another name.wav")
    recording.rename(copy)

    answer = upload(api, copy)

    assert answer.status_code == 202, answer.text
    task = answer.json()
    assert answer.headers["Location"] == f"{TASKS}/{task['id']}"
    assert task["id"] != first["id"]
    assert (task["status"], task["stage"], task["error"]) == ("completed", "done", None)
    assert task["reused_from"] == first["id"]
    assert task["file_name"] == "another name.wav"
    assert task["progress"] == first["progress"]
    assert task["warnings"] == first["warnings"]
    assert task["finished_at"] is not None
    before, after = (api.get(f"{TASKS}/{made['id']}/result").json() for made in (first, task))
    assert after == before | {"job_id": task["id"]}
    assert [name.partition("-")[0] for name in files_of(forgetful, task["id"])] == [
        "source", "transcript",
    ]  # fmt: skip
    facts = api.get(f"{TASKS}/{task['id']}/metadata").json()
    assert facts["words"] == len(words_of(api, task["id"]))
    assert facts["duration"] == pytest.approx(10, abs=0.01)


def test_of_one_that_was_taken_over_itself(api: httpx.Client, recording: Path, first: dict) -> None:
    second = upload(api, recording).json()
    api.delete(f"{TASKS}/{first['id']}").raise_for_status()
    third = upload(api, recording).json()
    assert (second["reused_from"], third["reused_from"]) == (first["id"], second["id"])
    assert words_of(api, third["id"]) == words_of(api, second["id"])


@pytest.mark.parametrize(
    "options",
    [
        {"reuse": "false"},
        {"prompt": "Laura"},
        {"word_timestamps": "false"},
        {"chunking": "fixed"},
        {"diarize": "true"},
    ],
    ids=str,
)
def test_whoever_asks_for_something_else_gets_it(
    api: httpx.Client, recording: Path, first: dict, options: dict[str, str]
) -> None:
    task = upload(api, recording, **options).json()
    assert (task["reused_from"], task["status"]) == (None, "pending")
    done = wait_for_end(api, task["id"])
    assert (done["status"], done["reused_from"]) == ("completed", None)


def test_another_recording(api: httpx.Client, first: dict, short_wav: Path, tmp_path: Path) -> None:
    task = upload(api, unlike(short_wav, tmp_path, "other")).json()
    assert task["reused_from"] is None
    assert wait_for_end(api, task["id"])["status"] == "completed"


def test_what_does_not_change_the_words_is_no_hindrance(
    api: httpx.Client, recording: Path, first: dict
) -> None:
    task = upload(api, recording, keep_hours="1", language="en").json()
    assert task["reused_from"] == first["id"]
    assert task["expires_at"] is not None


def test_one_that_is_not_completed_is_not_taken_over(api: httpx.Client, recording: Path) -> None:
    earlier = upload(api, recording).json()
    api.post(f"{TASKS}/{earlier['id']}/cancel").raise_for_status()
    task = upload(api, recording).json()
    assert task["reused_from"] is None
    assert wait_for_end(api, task["id"])["status"] == "completed"


def test_deleting_the_first_leaves_the_second(
    api: httpx.Client, forgetful: Stack, recording: Path, first: dict
) -> None:
    words = words_of(api, first["id"])
    task_id = upload(api, recording).json()["id"]
    api.delete(f"{TASKS}/{first['id']}").raise_for_status()
    assert files_of(forgetful, first["id"]) == []
    assert words_of(api, task_id) == words
    assert api.get(f"{TASKS}/{task_id}/result?format=srt").status_code == 200


def test_deleting_the_second_leaves_the_first(
    api: httpx.Client, recording: Path, first: dict
) -> None:
    task_id = upload(api, recording).json()["id"]
    api.delete(f"{TASKS}/{task_id}").raise_for_status()
    assert words_of(api, first["id"])


def test_its_speakers_can_be_looked_for(api: httpx.Client, recording: Path, first: dict) -> None:
    task_id = upload(api, recording).json()["id"]
    api.delete(f"{TASKS}/{first['id']}").raise_for_status()
    before = words_of(api, task_id)
    assert api.post(f"{TASKS}/{task_id}/rediarize").status_code == 202
    task = wait_for_end(api, task_id)
    assert (task["status"], task["stage"]) == ("completed", "done")
    assert words_of(api, task_id) == before
    values = api.get(f"{TASKS}/{task_id}/result").json()
    has_reason = any("could not be found again" in line for line in task["warnings"])
    assert bool(values["speakers"]) != has_reason


def test_speakers_are_taken_over_and_named_apart(api: httpx.Client, recording: Path) -> None:
    first = wait_for_end(api, upload(api, recording, diarize="true").json()["id"])
    speakers = api.get(f"{TASKS}/{first['id']}/result").json()["speakers"]
    if not speakers:
        pytest.skip("there is no diarization pipeline")
    api.patch(f"{TASKS}/{first['id']}/speakers", json={"SPEAKER_00": "Ann"}).raise_for_status()

    task = upload(api, recording, diarize="true").json()

    assert task["reused_from"] == first["id"]
    taken = api.get(f"{TASKS}/{task['id']}/result").json()["speakers"]
    assert taken == speakers
