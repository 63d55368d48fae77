"""Who is served while there are no API keys: programs on this machine, and nobody else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.api.support import (
    KEYS,
    TASKS,
    api_process,
    bearer,
    key_id,
    key_of,
    own_address,
    refused,
)
from tests.conftest import upload
from tests.contract.servers import embedded_mongodb

PAGE = "https://app.example.org"


@pytest.fixture(scope="module")
def keyless_api(
    servers_alone: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx.Client]:
    settings = {
        "API_HOST": "0.0.0.0",
        "CORS_ORIGINS": f'["{PAGE}"]',
        "RATE_LIMIT_PER_ADDRESS": "100",
    }
    with (
        embedded_mongodb(tmp_path_factory.mktemp("keyless")) as url,
        api_process(servers_alone, MONGODB_URL=url, **settings) as api,
    ):
        yield api


@pytest.fixture
def keyless(keyless_api: httpx.Client) -> Iterator[httpx.Client]:
    """An API without valid keys, asked from its own machine."""
    yield keyless_api
    if keyless_api.get(KEYS).status_code == 200:
        return
    pytest.fail("a test has left a key behind")


def test_without_keys_this_machine_may_do_everything(
    keyless: httpx.Client, short_wav: Path
) -> None:
    for _ in range(110):  # more than an address may
        assert keyless.get(KEYS).json()["keys"] == []
    task_id = upload(keyless, short_wav).json()["id"]
    assert keyless.delete(f"{TASKS}/{task_id}").status_code == 204


def test_openai_clients_send_some_key_always(keyless: httpx.Client) -> None:
    assert keyless.get(TASKS, headers=bearer("none")).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "rebound.example.org"},
        {"Host": "127.0.0.1.example.org"},
        {"Host": ""},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost"},
        {"X-Forwarded-For": "127.0.0.1"},
        {"X-Forwarded-Host": "stt.example.org"},
        {"Forwarded": "for=127.0.0.1"},
        {"X-Real-IP": "127.0.0.1"},
        {"Via": "1.1 proxy"},
    ],
    ids=lambda headers: "{}: {}".format(*next(iter(headers.items()))),
)
def test_without_keys_nobody_else_is_served(
    keyless: httpx.Client, short_wav: Path, headers: dict[str, str]
) -> None:
    keyless.headers.update(headers)
    try:
        body = refused(upload(keyless, short_wav), 403, "keys_required")
        refused(keyless.get(TASKS), 403, "keys_required")
        assert keyless.get("/health/ready").status_code == 200
    finally:
        for name in headers:
            del keyless.headers[name]
    assert "keys create" in body["message"]
    assert keyless.get(TASKS).json()["tasks"] == []


@pytest.mark.parametrize("headers", [{"Origin": PAGE}, {"Host": "localhost"}, {"Host": "[::1]:80"}])
def test_without_keys_pages_that_are_allowed_are_served(
    keyless: httpx.Client, headers: dict[str, str]
) -> None:
    assert keyless.get(TASKS, headers=headers).status_code == 200


def test_the_servers_own_page_is_served(keyless: httpx.Client) -> None:
    own = {"Origin": str(keyless.base_url).rstrip("/")}
    assert keyless.get(TASKS, headers=own).status_code == 200


def test_without_keys_other_machines_are_not_served(keyless: httpx.Client) -> None:
    url = f"http://{own_address()}:{keyless.base_url.port}"
    refused(httpx.get(url + TASKS), 403, "keys_required")
    refused(httpx.get(url + TASKS, headers={"Host": "localhost"}), 403, "keys_required")
    assert httpx.get(f"{url}/health/live").status_code == 200


def test_the_first_key_shuts_the_door_and_the_last_one_opens_it(
    keyless: httpx.Client, short_wav: Path
) -> None:
    task_id = upload(keyless, short_wav).json()["id"]
    admin, ours = key_of(keyless, "root", "admin"), ""
    try:
        refused(keyless.get(TASKS), 401, "missing_api_key")
        ours = keyless.post(
            KEYS, headers=bearer(admin), json={"owner": "local", "name": "those of before"}
        ).json()["token"]
        listed = keyless.get(TASKS, headers=bearer(ours)).json()["tasks"]
        assert [task["id"] for task in listed] == [task_id]
        assert keyless.delete(f"{TASKS}/{task_id}", headers=bearer(ours)).status_code == 204
    finally:
        for token in (ours, admin):
            if token:
                keyless.delete(f"{KEYS}/{key_id(token)}", headers=bearer(admin))
    assert keyless.get(TASKS).status_code == 200
