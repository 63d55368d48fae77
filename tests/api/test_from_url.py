"""Recordings that the server downloads, over REST on a real stack."""

from __future__ import annotations

import hashlib
import json
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.api.support import TASKS, files_of, needs_folder, refused, wait_until, words_of
from tests.conftest import Stack, wait_for_end
from tests.remote import (
    Remote,
    a_remote,
    in_parts,
    plainly,
    redirecting,
    refusing,
    unending,
)

SECRET = "SECRET-TOKEN"


@pytest.fixture(scope="module")
def remote() -> Iterator[Remote]:
    with a_remote() as server:
        yield server


@pytest.fixture(scope="module")
def content(short_wav: Path) -> bytes:
    return short_wav.read_bytes()


def ask(api: httpx.Client, url: str, key: str | None = None, **options: object) -> httpx.Response:
    headers = {"Idempotency-Key": key} if key else {}
    return api.post(f"{TASKS}/from-url", json={"url": url, **options}, headers=headers)


def fetched(api: httpx.Client, url: str, **options: object) -> dict:
    """The task that a URL has become, at its end."""
    answer = ask(api, url, **options)
    assert answer.status_code == 202, answer.text
    return wait_for_end(api, answer.json()["id"])


def test_a_recording_at_an_address(
    api: httpx.Client, stack: Stack, remote: Remote, content: bytes
) -> None:
    named = plainly(content, Content_Disposition='attachment; filename="board meeting.wav"')
    url = remote.serve(f"/{SECRET}/1", named)

    answer = ask(api, f"{url}?signature={SECRET}", chunking="fixed", word_timestamps=False)

    assert answer.status_code == 202, answer.text
    accepted = answer.json()
    assert (accepted["status"], accepted["stage"]) == ("pending", "fetch")
    assert accepted["file_name"] == "127.0.0.1"
    assert answer.headers["Location"] == f"{TASKS}/{accepted['id']}"
    task = wait_for_end(api, accepted["id"])
    assert (task["status"], task["error"]) == ("completed", None)
    assert task["file_name"] == "board meeting.wav"
    assert words_of(api, task["id"])[:3] == ["Good", "morning", "everyone."]
    metadata = api.get(f"{TASKS}/{task['id']}/metadata").json()
    assert metadata["sha256"] == hashlib.sha256(content).hexdigest()
    assert (metadata["size_bytes"], metadata["duration"]) == (len(content), 10.0)
    options = metadata["options"]
    assert (options["chunking"], options["word_timestamps"]) == ("fixed", False)
    assert metadata["timings"]["fetch"] > 0
    for said in (answer.text, json.dumps(task), json.dumps(metadata)):
        assert SECRET not in said


def test_addresses_are_not_logged(
    api: httpx.Client, stack: Stack, remote: Remote, content: bytes
) -> None:
    logs = stack.data_dir / "logs"
    if not logs.exists():
        pytest.skip("the servers were started elsewhere")
    fetched(api, remote.serve(f"/{SECRET}/2", plainly(content)) + f"?x={SECRET}")
    fetched(api, remote.serve(f"/{SECRET}/3", refusing(404)) + f"?x={SECRET}")
    written = [path.read_text(errors="replace") for path in logs.rglob("*") if path.is_file()]
    assert any("fetch recording" in text for text in written)
    assert not any(SECRET in text for text in written)


def test_a_connection_that_breaks_is_resumed(
    api: httpx.Client, remote: Remote, content: bytes
) -> None:
    task = fetched(api, remote.serve("/parts.wav", in_parts(content, len(content) // 2 + 1)))
    assert task["status"] == "completed"
    metadata = api.get(f"{TASKS}/{task['id']}/metadata").json()
    assert metadata["sha256"] == hashlib.sha256(content).hexdigest()
    assert len(remote.asked("/parts.wav")) == 2
    assert (task["file_name"], metadata["size_bytes"]) == ("parts.wav", len(content))


def test_a_redirect(api: httpx.Client, remote: Remote, content: bytes) -> None:
    remote.serve("/cdn/x", plainly(content))
    task = fetched(api, remote.serve("/episode.wav", redirecting("/cdn/x")))
    assert (task["status"], task["file_name"]) == ("completed", "episode.wav")


def test_what_makes_a_task_fail(api: httpx.Client, remote: Remote) -> None:
    private = "http://10.0.0.1/a.mp3"
    html = plainly(b"<html>Please log in.</html>", Content_Type="audio/mpeg")
    large = "Content-Length"
    expected = {
        remote.serve("/gone", refusing(410)): "url_refused",
        remote.serve("/login", refusing(403)): "url_refused",
        remote.serve("/private", redirecting(private)): "url_not_allowed",
        remote.serve("/metadata", redirecting("http://169.254.169.254/")): "url_not_allowed",
        remote.serve("/page", html): "unsupported_media",
        remote.serve("/empty", plainly(b"")): "empty_file",
        remote.serve("/large", plainly(b"", **{large: str(1 << 40)})): "file_too_large",
    }
    ids = {ask(api, url).json()["id"]: (url, code) for url, code in expected.items()}

    for task_id, (url, code) in ids.items():
        task = wait_for_end(api, task_id)
        assert task["status"] == "failed", url
        assert (task["error"]["code"], task["error"]["retryable"]) == (code, False), url
        body = refused(api.get(f"{TASKS}/{task_id}/result"), 409, "task_failed")
        assert task["error"]["message"] in body["message"]


def test_what_failed_can_be_retried(api: httpx.Client, remote: Remote, content: bytes) -> None:
    url = remote.serve("/later.wav", refusing(404))
    task_id = fetched(api, url)["id"]
    remote.serve("/later.wav", plainly(content))

    again = api.post(f"{TASKS}/{task_id}/retry")

    assert again.status_code == 202
    assert (again.json()["stage"], again.json()["attempt"]) == ("fetch", 2)
    task = wait_for_end(api, task_id)
    assert (task["status"], task["file_name"]) == ("completed", "later.wav")


@pytest.mark.parametrize("action", ["cancel", "delete"])
def test_a_task_ended_while_it_is_fetched(
    api: httpx.Client, stack: Stack, remote: Remote, action: str
) -> None:
    needs_folder(stack)
    go_on = threading.Event()
    path = f"/slow-{action}"
    url = remote.serve(path, unending(b"RIFF" * 100, go_on))
    task_id = ask(api, url).json()["id"]
    wait_until(lambda: bool(remote.asked(path)), 30)
    now = api.get(f"{TASKS}/{task_id}").json()
    assert (now["status"], now["stage"], now["progress"]["percent"]) == ("processing", "fetch", 0)

    if action == "cancel":
        assert api.post(f"{TASKS}/{task_id}/cancel").json()["status"] == "cancelled"
    else:
        assert api.delete(f"{TASKS}/{task_id}").status_code == 204

    wait_until(lambda: path in remote.broken, 10)
    assert files_of(stack, task_id) == []
    wait_until(lambda: not list((stack.data_dir / "tmp").glob("work-*/source")))


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://10.0.0.1/a.mp3", "url_not_allowed"),
        ("http://192.168.1.1/a.mp3", "url_not_allowed"),
        ("http://172.16.0.1:8080/a.mp3", "url_not_allowed"),
        ("http://169.254.169.254/latest/meta-data/", "url_not_allowed"),
        ("http://[::1]/a.mp3", "url_not_allowed"),
        ("http://[fd00::1]/a.mp3", "url_not_allowed"),
        ("http://[::ffff:10.0.0.1]/a.mp3", "url_not_allowed"),
        ("http://[64:ff9b::10.0.0.1]/a.mp3", "url_not_allowed"),
        ("http://0.0.0.0/a.mp3", "url_not_allowed"),
        ("http://0x0a000001/a.mp3", "url_not_allowed"),
        ("http://167772161/a.mp3", "url_not_allowed"),
        ("ftp://example.org/a.mp3", "url_invalid"),
        ("file:///etc/passwd", "url_invalid"),
        ("a.mp3", "url_invalid"),
        ("", "url_invalid"),
    ],
)
def test_addresses_that_are_not_asked(api: httpx.Client, url: str, code: str) -> None:
    refused(ask(api, url), 422, code)


def test_a_server_that_allows_nothing_private(waiting: httpx.Client, remote: Remote) -> None:
    refused(ask(waiting, f"{remote.url}/a.mp3"), 422, "url_not_allowed")
    refused(ask(waiting, "http://localhost/a.mp3"), 422, "url_not_allowed")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "invalid_option"),
        ({"url": 5}, "invalid_option"),
        ({"url": "http://x/" + "y" * 5000}, "invalid_option"),
        ({"url": "http://127.0.0.1:1/", "model": "none-such"}, "unknown_model"),
        ({"url": "http://127.0.0.1:1/", "num_speakers": 2}, "invalid_speakers"),
        ({"url": "http://127.0.0.1:1/", "nothing": 2}, "unknown_option"),
        (
            {"url": "http://127.0.0.1:1/", "known_speaker_names": ["Laura"]},
            "invalid_known_speakers",
        ),
    ],
)
def test_requests_that_are_refused_at_once(api: httpx.Client, body: dict, code: str) -> None:
    refused(api.post(f"{TASKS}/from-url", json=body), 422, code)


def test_the_same_request_again(api: httpx.Client, remote: Remote, content: bytes) -> None:
    key, url = uuid.uuid4().hex, remote.serve("/once.wav", plainly(content))
    first, second = (ask(api, url, key, prompt="Laura") for _ in range(2))
    assert (first.status_code, second.status_code) == (202, 202)
    assert second.json()["id"] == first.json()["id"]
    assert second.headers["Idempotent-Replayed"] == "true"
    refused(ask(api, f"{url}?2", key, prompt="Laura"), 422, "idempotency_key_reused")
    refused(ask(api, url, key), 422, "idempotency_key_reused")
    assert wait_for_end(api, first.json()["id"])["status"] == "completed"
    assert len(remote.asked("/once.wav")) == 1
    # The address has been forgotten meanwhile; the key has not.
    assert ask(api, url, key, prompt="Laura").json()["status"] == "completed"


def test_there_is_room_for_so_many(waiting: httpx.Client) -> None:
    """The limit of open tasks is that of uploads."""
    for _ in range(2):
        assert ask(waiting, "http://192.0.2.1.invalid/a.mp3").status_code == 202
    refused(ask(waiting, "http://192.0.2.1.invalid/a.mp3"), 429, "too_many_tasks")
