"""Webhooks on their way: signed, sent until they are taken, and not where they must not go."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from datetime import timedelta
from ipaddress import ip_network

import pytest
from standardwebhooks import Webhook

from core.clock import utc_now
from core.outgoing import OutgoingClient
from repositories.webhook_models import DeliveryModel, DeliveryState, WebhookModel
from services.delivery_service import DeliveryService
from services.webhook_sender import WebhookSender
from tests.receiver import receiver

HOUR = timedelta(hours=1)
SECRET = "whsec_" + "c2VjcmV0" * 4
BODY = json.dumps({"type": "task.completed", "data": {"file_name": "Gespräch.mp3"}})
OPEN, DELIVERED, FAILED = DeliveryState.OPEN, DeliveryState.DELIVERED, DeliveryState.FAILED


@pytest.fixture
def endpoint():
    with receiver() as server:
        yield server


@pytest.fixture
def client(parts) -> OutgoingClient:
    ours = [ip_network("127.0.0.0/8")]
    return OutgoingClient(parts.settings.model_copy(update={"allowed_networks": ours}))


@pytest.fixture
def service(parts, client) -> DeliveryService:
    return DeliveryService(
        parts.settings, parts.webhook_endpoints, parts.webhook_deliveries, WebhookSender(client)
    )


@pytest.fixture
def add(parts):
    """Add a delivery, and its webhook if there is none of its owner yet."""

    async def add_delivery(url: str, delivery_id: str = "msg_1", owner: str = "ann", **fields):
        webhook = WebhookModel(id=f"wh_{owner}", owner=owner, url=url, secret=SECRET)
        await parts.webhook_endpoints.register(webhook)
        defaults = {"job_id": "job-1", "type": "task.completed", "expires_at": utc_now() + HOUR}
        delivery = DeliveryModel(
            id=delivery_id, owner=owner, webhook_id=webhook.id, body=BODY, **defaults | fields
        )
        assert await parts.webhook_deliveries.add(delivery)

    return add_delivery


@pytest.fixture
def send(parts, service):
    """Send what is due; what has become of one of ann's deliveries."""

    async def send_due(delivery_id: str = "msg_1") -> DeliveryModel:
        await service.begin()
        await service.finish()
        return await parts.webhook_deliveries.require(delivery_id, "wh_ann")

    return send_due


async def test_a_message_is_sent_signed_once(add, send, endpoint):
    await add(endpoint.url)
    sent = await send()
    await send()
    assert (sent.state, sent.attempts, sent.last_status, sent.last_error) == (
        DELIVERED,
        1,
        200,
        None,
    )
    (got,) = endpoint.received
    assert got.id == "msg_1"
    assert got.headers["content-type"] == "application/json"
    assert got.body.decode() == BODY
    assert Webhook(SECRET).verify(got.body, got.headers) == json.loads(BODY)


@pytest.mark.parametrize(
    ("attempts", "pause"),
    [(1, 5), (2, 300), (3, 1800), (4, 7200), (5, 18_000), (6, 36_000), (9, 36_000)],
)
async def test_one_that_was_not_taken_waits_longer_each_time(add, send, endpoint, attempts, pause):
    endpoint.status = 500
    await add(endpoint.url, attempts=attempts - 1)
    before = utc_now()
    sent = await send()
    assert (sent.state, sent.attempts, sent.last_status) == (OPEN, attempts, 500)
    assert sent.last_error == "The server answered 500."
    waits = (sent.not_before - before).total_seconds()
    assert 0.8 * pause <= waits <= 1.2 * pause + 5
    await send()
    assert len(endpoint.received) == 1


async def test_the_same_message_is_sent_again_with_a_new_time(parts, add, send, endpoint):
    endpoint.status = 503
    await add(endpoint.url)
    sent = await send()
    first = endpoint.received[0]
    while str(int(utc_now().timestamp())) == first.headers["webhook-timestamp"]:
        await asyncio.sleep(0.02)
    await parts.webhook_deliveries.reopen(sent)
    endpoint.status = 204
    assert (await send()).state is DELIVERED
    again = endpoint.received[1]
    assert (again.id, again.body) == (first.id, first.body)
    assert again.headers["webhook-timestamp"] > first.headers["webhook-timestamp"]
    assert Webhook(SECRET).verify(again.body, again.headers)


async def test_after_the_last_attempt_it_is_given_up(parts, add, send, endpoint):
    endpoint.status = 500
    await add(endpoint.url, attempts=parts.settings.webhook_max_attempts - 1)
    sent = await send()
    assert (sent.state, sent.last_error) == (FAILED, "The server answered 500.")


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 413, 422])
async def test_a_refusal_is_final(add, send, endpoint, status):
    endpoint.status = status
    await add(endpoint.url)
    sent = await send()
    assert (sent.state, sent.last_status) == (FAILED, status)


@pytest.mark.parametrize("status", [301, 304, 408, 409, 425, 429, 500, 502, 503, 504])
async def test_other_answers_may_be_better_the_next_time(add, send, endpoint, status):
    endpoint.status = status
    await add(endpoint.url)
    sent = await send()
    assert (sent.state, sent.last_status) == (OPEN, status)


@pytest.mark.parametrize(
    ("after", "least", "most"),
    [
        ("900", 900, 905),
        ("1", 4, 11),
        ("x", 4, 11),
        ("9" * 50, 4, 11),
        ("999999999", 86_400, 86_405),
    ],
)
async def test_an_endpoint_may_ask_to_be_left_alone_for_a_while(
    add, send, endpoint, after, least, most
):
    endpoint.status, endpoint.headers = 429, {"Retry-After": after}
    await add(endpoint.url)
    before = utc_now()
    waits = ((await send()).not_before - before).total_seconds()
    assert least <= waits <= most


async def test_redirects_are_not_followed(add, send, endpoint):
    with receiver() as elsewhere:
        endpoint.status, endpoint.headers = 307, {"Location": elsewhere.url}
        await add(endpoint.url)
        sent = await send()
        assert elsewhere.received == []
    assert (sent.state, sent.last_status) == (OPEN, 307)
    assert "redirect" in sent.last_error


async def test_an_endpoint_that_is_gone_is_disabled(parts, add, send, endpoint):
    endpoint.status = 410
    await add(endpoint.url)
    assert (await send()).state is FAILED
    webhook = await parts.webhook_endpoints.get("wh_ann")
    assert webhook.disabled_at is not None
    assert "410" in webhook.disabled_reason


async def test_nothing_is_sent_to_a_disabled_endpoint(parts, add, send, endpoint):
    await add(endpoint.url)
    await parts.webhook_endpoints.disable("wh_ann", utc_now(), "for a test")
    sent = await send()
    assert (sent.state, sent.last_error) == (FAILED, "The webhook is disabled.")
    assert endpoint.received == []


async def test_what_was_for_a_deleted_endpoint_is_forgotten(parts, add, service, endpoint):
    await add(endpoint.url)
    await parts.webhook_endpoints.delete("wh_ann")
    await service.begin()
    await service.finish()
    assert endpoint.received == []
    assert (
        await parts.webhook_deliveries.list_deliveries("wh_ann", limit=9, cursor=None)
    ).items == []


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://10.0.0.1/", "not on the public internet"),  # it was public when it was registered
        ("http://name.invalid/", "cannot be resolved"),
        ("http://127.0.0.1:{closed}/", "cannot be reached"),
    ],
)
async def test_an_endpoint_that_cannot_be_reached_is_tried_again(add, send, closed_port, url, why):
    await add(url.format(closed=closed_port))
    sent = await send()
    assert (sent.state, sent.last_status) == (OPEN, None)
    assert why in sent.last_error


async def test_what_a_killed_process_was_sending_is_sent_again(parts, add, send, endpoint):
    await add(endpoint.url)
    dead = await parts.webhook_deliveries.claim(0)
    sent = await send()
    assert (sent.id, sent.state, sent.attempts) == (dead.id, DELIVERED, 2)


async def test_slow_endpoints_of_one_owner_do_not_hold_up_anothers(parts, add, service, endpoint):
    endpoint.answers.clear()
    for at in range(20):
        await add(endpoint.url, f"msg_{at}")
    with receiver() as quick:
        await add(quick.url, "msg_bobs", owner="bob")
        await service.begin()
        await asyncio.to_thread(quick.wait_for, 1)
    await asyncio.to_thread(endpoint.wait_for, 4)
    await service.begin()
    assert len(endpoint.received) == 4
    endpoint.answers.set()
    while len(endpoint.received) < 20:
        await service.finish()
        await service.begin()
    await service.finish()
    page = await parts.webhook_deliveries.list_deliveries("wh_ann", limit=99, cursor=None)
    assert {delivery.state for delivery in page.items} == {DELIVERED}


async def test_an_answer_without_end_is_not_waited_for(add, send, monkeypatch):
    """One drips its head for ever; the other a body, which nobody reads."""
    monkeypatch.setattr("services.webhook_sender._ALL_SECONDS", 1.0)
    with dripping(b"HTTP/1.1 200 OK\r\n", b"x-more: drip\r\n") as url:
        await add(url)
        sent = await send()
    assert (sent.state, sent.last_status) == (OPEN, None)
    assert "within 1 seconds" in sent.last_error


async def test_the_body_of_an_answer_is_not_read(add, send):
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    with dripping(head, b"1\r\nx\r\n") as url:
        await add(url)
        assert (await send()).state is DELIVERED


class dripping:
    """A server that answers with a beginning, and then with the same bytes again and again."""

    def __init__(self, beginning: bytes, drip: bytes) -> None:
        self.beginning, self.drip, self.over = beginning, drip, threading.Event()

    def __enter__(self) -> str:
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.thread = threading.Thread(target=self.answer)
        self.thread.start()
        return f"http://127.0.0.1:{self.listening.getsockname()[1]}/"

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join()
        self.listening.close()

    def answer(self) -> None:
        connection, _ = self.listening.accept()
        with connection:
            try:
                connection.recv(1 << 16)
                connection.sendall(self.beginning)
                while not self.over.wait(0.05):
                    connection.sendall(self.drip)
            except OSError:  # the other side has had enough
                pass
