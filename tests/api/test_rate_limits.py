"""Limits of requests: of keys, of addresses, and of those who try keys."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.api.conftest import Guarded, guarded_api
from tests.api.support import TASKS, api_process, bearer, key_of, own_address, refused
from tests.contract.servers import embedded_redis

PER_KEY, PER_ADDRESS, FAILURES = 25, 8, 20
PROXY = "127.0.0.99"


@pytest.fixture(scope="module")
def limited(
    servers_alone: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Guarded]:
    settings = {
        "RATE_LIMIT_PER_KEY": str(PER_KEY),
        "RATE_LIMIT_PER_ADDRESS": str(PER_ADDRESS),
        "TRUSTED_PROXIES": f'["{PROXY}/32"]',
    }
    with guarded_api(servers_alone, tmp_path_factory.mktemp("limited"), **settings) as api:
        yield api


def client_at(api: Guarded, address: str, **headers: str) -> httpx.Client:
    """A client with an address of its own: this machine has a whole network of them."""
    transport = httpx.HTTPTransport(local_address=address)
    return httpx.Client(base_url=api.admin.base_url, transport=transport, headers=headers)


def burst(client: httpx.Client, times: int, path: str = TASKS) -> list[httpx.Response]:
    return [client.get(path) for _ in range(times)]


def statuses(answers: list[httpx.Response]) -> list[int]:
    return [answer.status_code for answer in answers]


def check_refusal(answer: httpx.Response) -> None:
    body = refused(answer, 429, "rate_limited")
    assert 1 <= int(answer.headers["Retry-After"]) <= 62
    assert body["details"]["retry_after"] == int(answer.headers["Retry-After"])


def test_a_key_in_a_burst(limited: Guarded) -> None:
    with (
        limited.client(key_of(limited.admin, "one")) as busy,
        limited.client(key_of(limited.admin, "one")) as calm,
    ):
        answers = burst(busy, PER_KEY + 5)
        assert statuses(answers) == [200] * PER_KEY + [429] * 5
        for answer in answers[PER_KEY:]:
            check_refusal(answer)
        assert calm.get(TASKS).status_code == 200, "each key has its own"


def test_a_key_is_counted_wherever_it_comes_from(limited: Guarded) -> None:
    token = key_of(limited.admin, "travels")
    answers = []
    for at in range(PER_KEY + 1):
        with client_at(limited, f"127.0.1.{at + 1}", **bearer(token)) as client:
            answers.append(client.get(TASKS))
    assert statuses(answers) == [200] * PER_KEY + [429]


def test_an_address_without_keys(limited: Guarded) -> None:
    with client_at(limited, "127.0.0.2") as nobody, client_at(limited, "127.0.0.3") as other:
        answers = burst(nobody, PER_ADDRESS + 2)
        assert statuses(answers) == [401] * PER_ADDRESS + [429] * 2
        check_refusal(answers[-1])
        assert other.get(TASKS).status_code == 401
        token = key_of(limited.admin, "beside")
        answer = nobody.get(TASKS, headers=bearer(token))
        assert answer.status_code == 200, "those who share the address and have keys are served"


def test_public_addresses_are_limited_from_elsewhere_alone(limited: Guarded) -> None:
    with httpx.Client(base_url=f"http://{own_address()}:{limited.port}") as elsewhere:
        answers = burst(elsewhere, PER_ADDRESS + 1, "/health/ready")
        assert statuses(answers) == [200] * PER_ADDRESS + [429]
    with client_at(limited, "127.0.0.4") as here:
        assert statuses(burst(here, PER_ADDRESS + 1, "/health/ready")) == [200] * (PER_ADDRESS + 1)


def test_trying_keys(limited: Guarded) -> None:
    with client_at(limited, "127.0.0.5", **bearer("stt_0123456789abcdef_" + "0" * 48)) as burglar:
        answers = burst(burglar, FAILURES + 2)
        assert statuses(answers) == [401] * FAILURES + [429] * 2
        check_refusal(answers[-1])


def test_a_spoofed_address_changes_nothing(limited: Guarded) -> None:
    """Whoever is no trusted proxy cannot say who they are."""
    with client_at(limited, "127.0.0.6") as liar:
        answers = [
            liar.get(TASKS, headers={name: f"{value}{at}"})
            for at in range(PER_ADDRESS + 2)
            for name, value in [("X-Forwarded-For", "10.0.0.")]
        ]
    assert statuses(answers) == [401] * PER_ADDRESS + [429] * 2


def test_clients_behind_a_trusted_proxy_are_told_apart(limited: Guarded) -> None:
    with client_at(limited, PROXY) as proxy:
        first, second = ({"X-Forwarded-For": f"10.9.9.{at}"} for at in (1, 2))
        answers = [proxy.get(TASKS, headers=first) for _ in range(PER_ADDRESS + 1)]
        assert statuses(answers) == [401] * PER_ADDRESS + [429]
        assert proxy.get(TASKS, headers=second).status_code == 401
        # The proxy adds the address that it sees; what stands before that is its client's tale.
        tale = {"X-Forwarded-For": "10.1.1.1, 10.9.9.1"}
        assert proxy.get(TASKS, headers=tale).status_code == 429


def test_an_ipv6_client_is_its_network(limited: Guarded) -> None:
    with client_at(limited, PROXY) as proxy:
        answers = [
            proxy.get(TASKS, headers={"X-Forwarded-For": f"2001:db8::{at}"})
            for at in range(1, PER_ADDRESS + 2)
        ]
    assert statuses(answers) == [401] * PER_ADDRESS + [429]


def test_while_redis_is_away(limited: Guarded, tmp_path: Path) -> None:
    """Requests go on, and are counted all the same."""
    with ExitStack() as running:
        redis = running.enter_context(embedded_redis(tmp_path))
        settings = {
            "REDIS_PORT": str(redis["redis_port"]),
            "REDIS_PASSWORD": redis["redis_password"],
            "RATE_LIMIT_PER_KEY": str(PER_KEY),
        }
        with api_process(limited.environment, **settings) as client:
            client.headers.update(bearer(key_of(limited.admin, "one")))
            assert client.get(TASKS).status_code == 200
            running.close()
            answers = burst(client, PER_KEY + 5)
            assert statuses(answers) == [200] * PER_KEY + [429] * 5
            check_refusal(answers[-1])
