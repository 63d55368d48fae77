"""API keys: who is served, and who is not, once there are some."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import httpx
import pymongo
import pytest

from tests.api.conftest import Guarded
from tests.api.support import (
    KEYS,
    TASKS,
    answer_to_a_part,
    bearer,
    key_id,
    key_of,
    own_address,
    refused,
    wait_until,
)
from tests.conftest import ROOT, upload

PUBLIC = (
    "/health", "/health/live", "/health/ready",
    "/api/v1/uploads/{upload_id}/content",  # its token is in the address
)  # fmt: skip


@pytest.mark.parametrize("place", ["Authorization", "authorization", "X-API-Key"])
def test_a_key_is_taken_from_either_place(guarded: Guarded, place: str) -> None:
    token = key_of(guarded.admin, "places")
    value = token if place == "X-API-Key" else f"bearer {token}"
    with guarded.client() as nobody:
        assert nobody.get(TASKS, headers={place: value}).status_code == 200
        both = {"Authorization": "Basic dTpw", "X-API-Key": token}
        assert nobody.get(TASKS, headers=both).status_code == 200


def test_a_key_works_from_anywhere(guarded: Guarded) -> None:
    token = key_of(guarded.admin, "elsewhere")
    url = f"http://{own_address()}:{guarded.port}{TASKS}"
    assert httpx.get(url, headers=bearer(token)).status_code == 200
    refused(httpx.get(url), 401, "missing_api_key")


def test_what_is_no_valid_key(guarded: Guarded) -> None:
    ours, other = key_of(guarded.admin, "wrong"), key_of(guarded.admin, "wrong")
    prefix, ours_id, secret = ours.split("_")
    wrong = {
        "unknown": f"{prefix}_{'0' * len(ours_id)}_{secret}",
        "another's secret": f"{prefix}_{ours_id}_{other.split('_')[2]}",
        "cut": ours[:-1],
        "longer": f"{ours}0",
        "in capitals": ours.upper(),
        "without its secret": f"{prefix}_{ours_id}_",
        "a digest": f"{prefix}_{ours_id}_{hashlib.sha256(secret.encode()).hexdigest()}",
        "anything": "sk-123",
    }
    with guarded.client() as nobody:
        for name, token in wrong.items():
            answer = nobody.get(TASKS, headers=bearer(token))
            refused(answer, 401, "invalid_api_key")
            assert answer.headers["WWW-Authenticate"] == "Bearer", name
        answer = nobody.get(TASKS)
        refused(answer, 401, "missing_api_key")
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert nobody.get(TASKS, headers=bearer(ours)).status_code == 200


def test_no_address_is_served_without_a_key_but_the_public_ones(guarded: Guarded) -> None:
    """Whatever there is, and whatever comes to be there."""
    description = guarded.admin.get("/openapi.json").json()
    looked_at = 0
    with guarded.client() as nobody:
        for path, methods in description["paths"].items():
            for method, operation in methods.items():
                answer = nobody.request(method.upper(), path.replace("{", "").replace("}", ""))
                if path in PUBLIC:
                    assert answer.status_code not in (401, 403), path
                    assert "security" not in operation
                else:
                    assert answer.status_code == 401, f"{method} {path}: {answer.text}"
                    assert operation["security"] == [{"bearer": []}, {"header": []}]
                    assert {"401", "403", "429"} <= set(operation["responses"]), path
                    looked_at += 1
        assert nobody.get("/nothing/here").status_code == 401
        assert nobody.get("/docs").status_code == 200
    assert looked_at > 10
    assert set(description["components"]["securitySchemes"]) == {"bearer", "header"}


def test_nothing_is_received_of_whom_we_turn_away(guarded: Guarded) -> None:
    with guarded.client() as nobody:
        answer = answer_to_a_part(nobody)
        assert answer.startswith("HTTP/1.1 401 ")
        large = {"file": ("large.wav", bytes(20_000_000))}
        refused(nobody.post(f"{TASKS}/upload", files=large), 401, "missing_api_key")


@pytest.mark.parametrize(
    ("scope", "allowed"),
    [("read", {"read"}), ("write", {"read", "write"}), ("admin", {"read", "write", "admin"})],
)
def test_scopes(guarded: Guarded, short_wav: Path, scope: str, allowed: set[str]) -> None:
    def allows(answer: httpx.Response) -> bool:
        if answer.status_code != 403:
            return True
        refused(answer, 403, "insufficient_scope")
        return False

    with guarded.client(key_of(guarded.admin, f"scope-{scope}", scope)) as ours:
        made = upload(ours, short_wav)
        can = {
            "read": allows(ours.get(TASKS)),
            "write": allows(made),
            "admin": allows(ours.get(KEYS)),
        }
        assert {name for name, it_can in can.items() if it_can} == allowed
        attempt = ours.post(KEYS, json={"owner": "x", "name": "x", "scopes": ["admin"]})
        assert allows(attempt) == (scope == "admin")
        assert allows(ours.delete(f"{KEYS}/0123")) == (scope == "admin")
        assert allows(ours.delete(f"{TASKS}/none")) == ("write" in allowed)
        if made.status_code == 202:
            ours.delete(f"{TASKS}/{made.json()['id']}").raise_for_status()


# --- administration


def test_creating_listing_and_revoking(guarded: Guarded) -> None:
    wanted = {"owner": "carol", "name": "phone", "scopes": ["read"]}
    made = guarded.admin.post(KEYS, json=wanted).json()
    token = made.pop("token")
    assert wanted.items() <= made.items()
    assert made["id"] == key_id(token)
    assert len(token.split("_")[2]) * 4 >= 128, "bits"
    with guarded.client(token) as carol:
        assert carol.get(TASKS).status_code == 200
        listing = guarded.admin.get(KEYS)
        secret = token.split("_")[2]
        assert secret not in listing.text
        assert hashlib.sha256(secret.encode()).hexdigest() not in listing.text
        mine = next(key for key in listing.json()["keys"] if key["id"] == made["id"])
        assert mine["last_used_at"] is not None
        assert mine["revoked_at"] is None

        for _ in range(2):
            assert guarded.admin.delete(f"{KEYS}/{made['id']}").status_code == 204

        refused(carol.get(TASKS), 401, "invalid_api_key")
    after = next(key for key in guarded.admin.get(KEYS).json()["keys"] if key["id"] == made["id"])
    assert after["revoked_at"] is not None


def test_another_process_revokes(guarded: Guarded) -> None:
    token = key_of(guarded.admin, "dave")
    with guarded.client(token) as dave:
        assert dave.get(TASKS).status_code == 200
        subprocess.run(
            [sys.executable, str(ROOT / "main.py"), "keys", "revoke", key_id(token)],
            env=guarded.environment, cwd=ROOT, check=True, timeout=60,
        )  # fmt: skip
        wait_until(lambda: dave.get(TASKS).status_code == 401, 5)


def test_no_secret_is_stored(guarded: Guarded) -> None:
    token = key_of(guarded.admin, "erin")
    secret = token.split("_")[2]
    with pymongo.MongoClient(guarded.environment["MONGODB_URL"]) as client:
        stored = client["stt"]["api_keys"].find_one({"_id": key_id(token)})
    assert stored is not None
    assert secret not in str(stored)
    assert stored["secret_sha256"] == hashlib.sha256(secret.encode()).hexdigest()


@pytest.mark.parametrize(
    "changes",
    [
        {"owner": ""}, {"owner": "two words"}, {"owner": "a\nb"}, {"owner": "x" * 65},
        {"name": ""}, {"name": "a\x00b"}, {"scopes": []}, {"scopes": ["root"]}, {"other": 1},
    ],
)  # fmt: skip
def test_keys_that_cannot_be(guarded: Guarded, changes: dict) -> None:
    wanted = {"owner": "frank", "name": "x", "scopes": ["read"]} | changes
    assert guarded.admin.post(KEYS, json=wanted).status_code == 422


def test_revoking_what_is_not_there(guarded: Guarded) -> None:
    refused(guarded.admin.delete(f"{KEYS}/0123456789abcdef"), 404, "key_not_found")
