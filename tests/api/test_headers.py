"""What browsers are told of answers: whom they are for, and what they may do."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator

import httpx
import pytest

from core.config import Settings
from internal.api.app import create_app
from tests.api.support import TASKS, api_process

PAGE, OTHER_PAGE = "https://app.example.org", "https://evil.example"
STRICT = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


@pytest.fixture(scope="module")
def api(servers_alone: dict[str, str]) -> Iterator[httpx.Client]:
    with api_process(servers_alone, CORS_ORIGINS=f'["{PAGE}"]', MAX_UPLOAD_BYTES="1000") as client:
        yield client


def cors_headers(answer: httpx.Response) -> list[str]:
    return [name for name in answer.headers if name.startswith("access-control-")]


def preflight(api: httpx.Client, origin: str, method: str, headers: str) -> httpx.Response:
    asked = {"Access-Control-Request-Method": method, "Access-Control-Request-Headers": headers}
    return api.options(f"{TASKS}/upload", headers={"Origin": origin} | asked)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/health/live", 200), ("GET", "/openapi.json", 200), ("GET", TASKS, 200),
        ("GET", f"{TASKS}/none", 404), ("GET", "/none", 404), ("PUT", TASKS, 405),
        ("POST", f"{TASKS}/upload", 422), ("GET", "/v1/models", 200), ("POST", "/asr", 422),
    ],
)  # fmt: skip
def test_every_answer_is_strict(api: httpx.Client, method: str, path: str, status: int) -> None:
    answer = api.request(method, path)
    assert answer.status_code == status
    assert {name: answer.headers.get(name) for name in STRICT} == STRICT
    assert "server" not in answer.headers


def test_refusals_are_strict(api: httpx.Client) -> None:
    answers = [
        api.get(TASKS, headers={"Host": "elsewhere"}),
        preflight(api, OTHER_PAGE, "POST", "Authorization"),
        api.post(f"{TASKS}/upload", files={"file": bytes(100_000)}),
    ]
    assert [answer.status_code for answer in answers] == [403, 400, 413]
    for answer in answers:
        assert {name: answer.headers.get(name) for name in STRICT} == STRICT
        assert answer.headers["X-Request-ID"]


async def test_failures_of_the_server_are_strict() -> None:
    """These are answered outside of everything else; here, by an application that never began."""
    app = create_app(Settings(_env_file=None))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        answer = await client.get(TASKS, headers={"X-Request-ID": "abc"})
    assert answer.status_code == 500
    assert {name: answer.headers.get(name) for name in STRICT} == STRICT
    assert answer.headers["X-Request-ID"] == "abc"


def test_the_page_of_the_description_may_load_what_it_needs_alone(api: httpx.Client) -> None:
    answer = api.get("/docs")
    policy = dict(
        rule.strip().split(" ", 1) for rule in answer.headers["Content-Security-Policy"].split(";")
    )
    assert policy["default-src"] == policy["frame-ancestors"] == "'none'"
    assert policy["connect-src"] == "'self'"
    scripts, styles = policy["script-src"].split(), policy["style-src"].split()
    assert not {"'unsafe-inline'", "'unsafe-eval'", "*", "https:"} & set(scripts)
    loaded = re.findall(r'<script src="([^"]+)"', answer.text)
    assert loaded
    assert all(address.startswith(scripts[0]) for address in loaded)
    (inline,) = re.findall(r"<script>(.*?)</script>", answer.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()
    assert f"'sha256-{digest}'" in scripts
    (sheet,) = re.findall(r'rel="stylesheet" href="([^"]+)"', answer.text)
    assert sheet.startswith(styles[0])
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_a_page_that_is_allowed(api: httpx.Client) -> None:
    answer = api.get(TASKS, headers={"Origin": PAGE})
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == PAGE
    assert "Retry-After" in answer.headers["Access-Control-Expose-Headers"]
    assert "Access-Control-Allow-Credentials" not in answer.headers


@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT", "DELETE"])
def test_a_page_that_is_allowed_may_send_what_clients_send(api: httpx.Client, method: str) -> None:
    headers = "authorization, x-api-key, idempotency-key, last-event-id, x-request-id"
    answer = preflight(api, PAGE, method, headers)
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == PAGE
    assert method in answer.headers["Access-Control-Allow-Methods"]
    assert set(headers.split(", ")) <= set(
        answer.headers["Access-Control-Allow-Headers"].lower().split(", ")
    )


@pytest.mark.parametrize("origin", [OTHER_PAGE, "null", f"{PAGE}.evil.example", "http://localhost"])
def test_other_pages_get_nothing(api: httpx.Client, origin: str) -> None:
    asked = preflight(api, origin, "POST", "Authorization")
    answer = api.get(TASKS, headers={"Origin": origin})
    assert asked.status_code == 400
    assert answer.status_code == 403
    assert cors_headers(asked) == cors_headers(answer) == []
    assert cors_headers(api.get("/health/live", headers={"Origin": origin})) == []
