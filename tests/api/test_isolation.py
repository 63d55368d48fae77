"""Nobody sees what is somebody else's: every address of the API, tried with another's key."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.api.conftest import Guarded
from tests.api.support import TASKS, key_of, refused
from tests.conftest import free_port, upload

WEBHOOKS = "/api/v1/webhooks"

# Of administrators, whose business everybody's are; of nobody in particular; and what its address
# alone gives access to.
_OTHERWISE = ("/api/v1/keys", "/v1/models", "/api/v1/uploads/{upload_id}/content")
# What has to be sent to be understood.
_BODIES: dict[str, dict] = {
    f"{TASKS}/{{task_id}}/speakers": {"SPEAKER_00": "Mallory"},
}


@dataclass
class Two:
    """Alice, who has some of everything, and Bob, who knows the ids."""

    alice: httpx.Client
    bob: httpx.Client
    ids: dict[str, str]

    @property
    def task(self) -> str:
        return f"{TASKS}/{self.ids['task_id']}"


@pytest.fixture(scope="module")
def two(guarded: Guarded, short_wav: Path) -> Iterator[Two]:
    with (
        guarded.client(key_of(guarded.admin, "alice", "write")) as alice,
        guarded.client(key_of(guarded.admin, "bob", "write")) as bob,
    ):
        hook = {"url": f"http://127.0.0.1:{free_port()}/hook"}
        webhook_id = alice.post(WEBHOOKS, json=hook).json()["id"]
        ids = {
            "task_id": upload(alice, short_wav).json()["id"],
            "webhook_id": webhook_id,
            "delivery_id": alice.post(f"{WEBHOOKS}/{webhook_id}/test").json()["delivery_id"],
        }
        yield Two(alice, bob, ids)
        alice.delete(f"{TASKS}/{ids['task_id']}").raise_for_status()


def test_every_address(guarded: Guarded, two: Two) -> None:
    """Bob is told the same of what is Alice's as of what is not there: 404."""
    tried = set()
    for method, path in addresses(guarded.admin):
        names = re.findall(r"{(\w+)}", path)
        if not names or path.startswith(_OTHERWISE):
            continue
        assert set(names) <= set(two.ids), f"{path}: say here what Alice has of it"
        url = path.format(**two.ids)
        arguments = {"json": _BODIES[path]} if path in _BODIES else {}
        answer = two.bob.request(method, url, **arguments)
        assert answer.status_code == 404, f"{method} {path}: {answer.status_code} {answer.text}"
        nothing = {name: value[:-8] + "0" * 8 for name, value in two.ids.items()}
        same = two.bob.request(method, path.format(**nothing), **arguments)
        assert told(answer) == told(same), "he would know that there is one"
        tried.add((method, path))
    assert {names for _, path in tried for names in re.findall(r"{(\w+)}", path)} == set(two.ids)
    # Nothing has become of it, and Alice is told something else.
    assert two.alice.get(two.task).json()["status"] == "pending"
    for method, path in tried:
        if method == "GET" and not path.endswith("/events"):
            assert two.alice.get(path.format(**two.ids)).status_code in (200, 409), path


def test_lists(two: Two) -> None:
    for path, of_bob in [(TASKS, "tasks"), (WEBHOOKS, "webhooks")]:
        assert any(own in two.alice.get(path).text for own in two.ids.values()), path
        assert two.bob.get(path).json()[of_bob] == []


def test_direct_uploads(two: Two) -> None:
    announced = {"file_name": "a.wav", "size_bytes": 3}
    opened = two.alice.post("/api/v1/uploads", json=announced).json()
    assert two.alice.put(opened["url"], content=b"abc").status_code == 200
    asked = {"upload_id": opened["id"]}
    refused(two.bob.post(f"{TASKS}/from-upload", json=asked), 404, "upload_not_found")
    made = two.alice.post(f"{TASKS}/from-upload", json=asked)
    assert made.status_code == 202, made.text
    two.alice.delete(f"{TASKS}/{made.json()['id']}").raise_for_status()


def test_keys_of_one_owner_see_the_same(guarded: Guarded, two: Two) -> None:
    with guarded.client(key_of(guarded.admin, "alice", "read")) as phone:
        assert phone.get(two.task).status_code == 200


def test_administrators_tasks_are_their_own(guarded: Guarded, two: Two) -> None:
    refused(guarded.admin.get(two.task), 404, "task_not_found")


def test_idempotency_keys(two: Two, short_wav: Path) -> None:
    """The same key, of two owners, is two."""
    same = {"Idempotency-Key": "monday"}
    made = []
    for client in (two.alice, two.bob):
        with short_wav.open("rb") as file:
            answer = client.post(f"{TASKS}/upload", files={"file": ("a.wav", file)}, headers=same)
        assert answer.status_code == 202, answer.text
        assert "Idempotent-Replayed" not in answer.headers
        made.append(answer.json()["id"])
        client.delete(f"{TASKS}/{made[-1]}").raise_for_status()
    assert made[0] != made[1]


def addresses(client: httpx.Client) -> list[tuple[str, str]]:
    """All methods and paths that the API describes."""
    description = client.get("/openapi.json").json()
    return [
        (method.upper(), path)
        for path, methods in description["paths"].items()
        for method in methods
    ]


def told(answer: httpx.Response) -> tuple[int, object]:
    """What an answer says, but for the id of its request."""
    body = answer.json()
    if isinstance(body, dict):
        body.pop("request_id", None)
    return answer.status_code, body
