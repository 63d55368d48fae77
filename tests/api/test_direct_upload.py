"""Recordings that are put into the object store first, on a real stack with a folder for one."""

from __future__ import annotations

import hashlib
import http.client
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from tests.api.conftest import Guarded
from tests.api.support import (
    TASKS,
    api_process,
    bearer,
    files_of,
    key_of,
    needs_folder,
    refused,
    words_of,
)
from tests.conftest import Stack, wait_for_end

UPLOADS = "/api/v1/uploads"


@pytest.fixture(scope="module")
def content(short_wav: Path) -> bytes:
    return short_wav.read_bytes()


@pytest.fixture(scope="module")
def calm(servers_alone: dict[str, str]) -> Iterator[httpx.Client]:
    """An API whose tasks are never begun."""
    with api_process(servers_alone) as client:
        yield client


def begin(api: httpx.Client, size: int, name: str = "board.wav") -> dict:
    answer = api.post(UPLOADS, json={"file_name": name, "size_bytes": size})
    assert answer.status_code == 201, answer.text
    return answer.json()


def put(opened: dict, content: bytes | Iterator[bytes]) -> httpx.Response:
    """Put bytes to an address, which needs nothing else."""
    return httpx.request(
        opened["method"], opened["url"], headers=opened["headers"], content=content, timeout=60
    )


def ask(api: httpx.Client, upload_id: str, key: str | None = None, **options: object):
    headers = {"Idempotency-Key": key} if key else {}
    body = {"upload_id": upload_id, **options}
    return api.post(f"{TASKS}/from-upload", json=body, headers=headers)


def test_a_recording_put_and_transcribed(api: httpx.Client, stack: Stack, content: bytes) -> None:
    opened = begin(api, len(content), "C:\\talks\\board.wav")
    assert opened["method"] == "PUT"
    assert opened["expires_at"] > time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())

    assert put(opened, content).status_code == 200
    answer = ask(api, opened["id"], word_timestamps=False)

    assert answer.status_code == 202, answer.text
    assert (answer.json()["id"], answer.json()["stage"]) == (opened["id"], "fetch")
    assert answer.headers["Location"] == f"{TASKS}/{opened['id']}"
    task = wait_for_end(api, opened["id"])
    assert (task["status"], task["file_name"]) == ("completed", "board.wav")
    assert words_of(api, task["id"])[:3] == ["Good", "morning", "everyone."]
    metadata = api.get(f"{TASKS}/{task['id']}/metadata").json()
    assert metadata["sha256"] == hashlib.sha256(content).hexdigest()
    assert metadata["options"]["word_timestamps"] is False


def test_what_is_no_recording_makes_the_task_fail(api: httpx.Client) -> None:
    opened = begin(api, 600)
    put(opened, b"notes " * 100)
    task_id = ask(api, opened["id"]).json()["id"]
    task = wait_for_end(api, task_id)
    assert (task["status"], task["error"]["code"]) == ("failed", "unsupported_media")


def test_a_second_put_replaces_the_first(calm: httpx.Client, content: bytes) -> None:
    opened = begin(calm, len(content))
    assert put(opened, bytes(len(content))).status_code == 200
    assert put(opened, content).status_code == 200
    assert ask(calm, opened["id"]).status_code == 202


def test_what_has_become_a_task_stays_as_it_is(calm: httpx.Client, content: bytes) -> None:
    opened = begin(calm, len(content))
    put(opened, content)
    ask(calm, opened["id"]).raise_for_status()
    refused(put(opened, bytes(len(content))), 403, "invalid_upload_address")
    body = refused(ask(calm, opened["id"]), 409, "upload_used")
    assert body["details"]["task_id"] == opened["id"]


def test_before_the_bytes_are_there(calm: httpx.Client, content: bytes) -> None:
    opened = begin(calm, len(content))
    body = refused(ask(calm, opened["id"]), 409, "upload_incomplete")
    assert body["details"] == {"announced": len(content), "received": 0}
    refused(put(opened, content[:-1]), 409, "upload_incomplete")
    refused(ask(calm, opened["id"]), 409, "upload_incomplete")
    put(opened, content)
    assert ask(calm, opened["id"]).status_code == 202


def test_a_put_that_breaks_off(api: httpx.Client, stack: Stack, content: bytes) -> None:
    needs_folder(stack)
    opened = begin(api, len(content))
    address = urlsplit(opened["url"])
    connection = http.client.HTTPConnection(address.netloc, timeout=30)
    connection.putrequest("PUT", f"{address.path}?{address.query}")
    connection.putheader("Content-Length", str(len(content)))
    connection.endheaders(content[:100_000])
    connection.close()
    refused(ask(api, opened["id"]), 409, "upload_incomplete")
    assert files_of(stack, opened["id"]) == []


def test_more_than_was_announced(calm: httpx.Client, content: bytes) -> None:
    opened = begin(calm, 1000)
    refused(put(opened, content), 413, "file_too_large")
    refused(put(opened, iter([content[:600], content[:600]])), 413, "file_too_large")
    refused(ask(calm, opened["id"]), 409, "upload_incomplete")


def test_more_than_is_accepted(calm: httpx.Client) -> None:
    sent = {"file_name": "a.wav", "size_bytes": 501 * 1024 * 1024}
    body = refused(calm.post(UPLOADS, json=sent), 413, "file_too_large")
    assert "500 MiB" in body["message"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"file_name": "a.wav"},
        {"file_name": "a.wav", "size_bytes": 0},
        {"file_name": "a.wav", "size_bytes": "many"},
        {"file_name": "x" * 1001, "size_bytes": 5},
    ],
)
def test_what_cannot_be_begun(calm: httpx.Client, body: dict) -> None:
    refused(calm.post(UPLOADS, json=body), 422, "invalid_option")


def test_the_address_is_the_permission(calm: httpx.Client) -> None:
    opened, other = begin(calm, 5), begin(calm, 5)
    bare, _, token = opened["url"].partition("?token=")
    assert len(token) >= 43
    swapped = other["url"].partition("?")[0] + f"?token={token}"
    nowhere = f"{bare.replace(opened['id'], uuid.uuid4().hex)}?token={token}"
    for url in (f"{bare}?token={token[:-1]}", f"{bare}?token=", swapped, nowhere):
        refused(httpx.put(url, content=b"12345"), 403, "invalid_upload_address")
    refused(httpx.put(bare, content=b"12345"), 422, "invalid_option")
    assert httpx.get(opened["url"]).status_code == 405


@pytest.mark.parametrize("upload_id", ["0" * 32, uuid.uuid4().hex])
def test_an_unknown_upload(calm: httpx.Client, upload_id: str) -> None:
    refused(ask(calm, upload_id), 404, "upload_not_found")


@pytest.mark.parametrize("upload_id", ["", "../../etc", "A" * 32, "0" * 31])
def test_what_is_no_id(calm: httpx.Client, upload_id: str) -> None:
    refused(ask(calm, upload_id), 422, "invalid_option")


def test_the_same_request_again(calm: httpx.Client, content: bytes) -> None:
    key, opened = uuid.uuid4().hex, begin(calm, len(content))
    put(opened, content)
    first, second = (ask(calm, opened["id"], key) for _ in range(2))
    assert (first.status_code, second.status_code) == (202, 202)
    assert second.json()["id"] == first.json()["id"]
    assert second.headers["Idempotent-Replayed"] == "true"
    refused(ask(calm, opened["id"], key, prompt="x"), 422, "idempotency_key_reused")
    refused(ask(calm, opened["id"], "another"), 409, "upload_used")


def test_a_deleted_tasks_upload_is_gone(calm: httpx.Client, content: bytes) -> None:
    opened = begin(calm, len(content))
    put(opened, content)
    ask(calm, opened["id"]).raise_for_status()
    calm.delete(f"{TASKS}/{opened['id']}").raise_for_status()
    refused(ask(calm, opened["id"]), 404, "upload_not_found")
    refused(put(opened, content), 403, "invalid_upload_address")


def test_only_so_many_can_be_begun(waiting: httpx.Client) -> None:
    """As many as tasks; until they have become some, or have expired."""
    sent = {"file_name": "a.wav", "size_bytes": 5}
    answers = [waiting.post(UPLOADS, json=sent) for _ in range(3)]
    refused(answers[-1], 429, "too_many_uploads")


def test_with_api_keys_the_address_needs_none(guarded: Guarded) -> None:
    ours, others = key_of(guarded.admin, "direct"), key_of(guarded.admin, "another")
    with guarded.client() as nobody:
        sent = {"file_name": "a.wav", "size_bytes": 4}
        refused(nobody.post(UPLOADS, json=sent), 401, "missing_api_key")
        opened = nobody.post(UPLOADS, json=sent, headers=bearer(ours)).json()
        assert put(opened, b"RIFF").status_code == 200
        asked = {"upload_id": opened["id"]}
        url = f"{TASKS}/from-upload"
        refused(nobody.post(url, json=asked, headers=bearer(others)), 404, "upload_not_found")
        assert nobody.post(url, json=asked, headers=bearer(ours)).status_code == 202
