"""Uploads for which there is no room: refused before they are received, and told when to return."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.api.support import TASKS, answer_to_a_part, api_process, refused
from tests.conftest import upload


@pytest.fixture
def taken(waiting: httpx.Client, short_wav: Path) -> list[str]:
    """The two tasks that one owner may have open."""
    return [upload(waiting, short_wav).json()["id"] for _ in range(2)]


@pytest.fixture(scope="module")
def full(servers_alone: dict[str, str]) -> Iterator[httpx.Client]:
    """An API whose disk is never empty enough."""
    with api_process(servers_alone, MIN_FREE_DISK_BYTES=str(10**18)) as client:
        yield client


def test_a_third_task(waiting: httpx.Client, taken: list[str], short_wav: Path) -> None:
    answer = upload(waiting, short_wav)
    body = refused(answer, 429, "too_many_tasks")
    assert int(answer.headers["Retry-After"]) > 0
    assert body["details"]["limit"] == 2
    listed = [task["id"] for task in waiting.get(TASKS).json()["tasks"]]
    assert listed == taken[::-1]


def test_a_third_task_is_refused_before_it_is_received(
    waiting: httpx.Client, taken: list[str]
) -> None:
    answer = answer_to_a_part(waiting)
    assert answer.startswith("HTTP/1.1 429 ")
    assert "retry-after: " in answer.lower()
    assert "too_many_tasks" in answer


def test_whoever_sends_all_of_it_is_told_as_well(waiting: httpx.Client, taken: list[str]) -> None:
    """Many clients read no answer before they have sent everything."""
    large = {"file": ("large.wav", bytes(50_000_000))}
    refused(waiting.post(f"{TASKS}/upload", files=large), 429, "too_many_tasks")
    assert waiting.get(TASKS).status_code == 200


def test_the_rest_works_at_the_limit(waiting: httpx.Client, taken: list[str]) -> None:
    assert waiting.get(f"{TASKS}/{taken[0]}").status_code == 200
    assert waiting.get("/health/ready").status_code == 200


@pytest.mark.parametrize(("method", "path"), [("POST", "/cancel"), ("DELETE", "")])
def test_there_is_room_again(
    waiting: httpx.Client, taken: list[str], short_wav: Path, method: str, path: str
) -> None:
    waiting.request(method, f"{TASKS}/{taken[0]}{path}").raise_for_status()
    assert upload(waiting, short_wav).status_code == 202
    refused(upload(waiting, short_wav), 429, "too_many_tasks")


def test_a_full_disk(full: httpx.Client, waiting: httpx.Client, short_wav: Path) -> None:
    answer = upload(full, short_wav)
    refused(answer, 503, "disk_full")
    assert int(answer.headers["Retry-After"]) > 0
    assert waiting.get(TASKS).json()["tasks"] == []


def test_a_full_disk_receives_nothing(full: httpx.Client) -> None:
    answer = answer_to_a_part(full)
    assert answer.startswith("HTTP/1.1 503 ")
    assert "retry-after: " in answer.lower()
    assert "disk_full" in answer
