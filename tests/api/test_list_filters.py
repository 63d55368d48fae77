"""Lists of some tasks over REST."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import httpx
import pytest

from tests.api.conftest import Guarded
from tests.api.support import TASKS, key_of, refused
from tests.conftest import upload

NAMES = ("Standup Monday.wav", "standup tuesday.wav", "interview (1).wav")


@pytest.fixture(scope="module")
def client(
    guarded: Guarded, short_wav: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx.Client]:
    """Somebody with a task of each of these names, the last of them cancelled."""
    folder = tmp_path_factory.mktemp("names")
    with guarded.client(key_of(guarded.admin, "lister", "write")) as api:
        for name in NAMES:
            (folder / name).write_bytes(short_wav.read_bytes())
            task_id = upload(api, folder / name).json()["id"]
        api.post(f"{TASKS}/{task_id}/cancel").raise_for_status()
        yield api
        for task in listed(api):
            api.delete(f"{TASKS}/{task['id']}").raise_for_status()


def listed(api: httpx.Client, **options: str | int) -> list[dict]:
    response = api.get(TASKS, params=options)
    assert response.status_code == 200, response.text
    return response.json()["tasks"]


def names(api: httpx.Client, **options: str | int) -> list[str]:
    return [task["file_name"] for task in listed(api, **options)]


def test_either_order(client: httpx.Client) -> None:
    assert names(client) == list(NAMES[::-1])
    assert names(client, order="desc") == list(NAMES[::-1])
    assert names(client, order="asc") == list(NAMES)


def test_pages_of_either_order(client: httpx.Client) -> None:
    for order, expected in (("asc", NAMES), ("desc", NAMES[::-1])):
        found, cursor = [], None
        while True:
            options = {"cursor": cursor} if cursor else {}
            page = client.get(TASKS, params={"limit": 1, "order": order} | options).json()
            found += [task["file_name"] for task in page["tasks"]]
            if (cursor := page["next_cursor"]) is None:
                break
        assert found == list(expected)


def test_filters(client: httpx.Client) -> None:
    assert names(client, file_name="STANDUP", order="asc") == list(NAMES[:2])
    assert names(client, file_name="(1)") == [NAMES[2]]
    assert names(client, file_name=".*") == []
    assert names(client, status="cancelled") == [NAMES[2]]
    assert names(client, status="pending", file_name="tuesday") == [NAMES[1]]
    assert names(client, language="en") == []
    assert names(client, diarized="true") == []
    assert names(client, diarized="false") == list(NAMES[::-1])


def test_moments(client: httpx.Client) -> None:
    created = [datetime.fromisoformat(task["created_at"]) for task in listed(client, order="asc")]
    assert len(set(created)) == 3
    second = created[1]
    east = second.astimezone(timezone(timedelta(hours=5, minutes=30)))
    unzoned = second.replace(tzinfo=None)
    for moment in (second, east, unzoned):
        assert names(client, created_after=moment.isoformat(), order="asc") == list(NAMES[1:])
        assert names(client, created_before=moment.isoformat()) == [NAMES[0]]
    between = {"created_after": second.isoformat(), "created_before": created[2].isoformat()}
    assert names(client, **between) == [NAMES[1]]
    assert names(client, created_before="0001-01-01T00:00:00Z") == []
    assert names(client, created_after="9999-12-31T23:59:59Z") == []


@pytest.mark.parametrize(
    "options",
    [
        {"order": "sideways"},
        {"created_after": "yesterday"},
        {"created_before": "2026-13-01T00:00:00Z"},
        {"diarized": "perhaps"},
        {"file_name": ""},
        {"file_name": "a\x00b"},
        {"language": "x" * 9},
        {"status": "lost"},
        {"limit": "201"},
    ],
)
def test_impossible_filters_are_refused(client: httpx.Client, options: dict) -> None:
    body = refused(client.get(TASKS, params=options), 422, "invalid_option")
    assert body["details"]["problems"][0]["field"] == next(iter(options))


def test_a_foreign_cursor_is_refused(client: httpx.Client) -> None:
    refused(client.get(TASKS, params={"cursor": "x", "order": "asc"}), 422, "invalid_cursor")
