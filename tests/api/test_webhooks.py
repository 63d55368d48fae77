"""Webhooks of a real stack, received by a real server that checks their signatures."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import httpx
import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from tests.api.support import TASKS, refused, wait_until
from tests.conftest import ROOT, SAMPLE, Stack, free_port, upload, wait_for_end
from tests.receiver import Received, Receiver, receiver

WEBHOOKS = "/api/v1/webhooks"
MOMENTS = ("created_at", "started_at", "finished_at", "expires_at")
REFUSED = {
    "ftp://example.org/": "url_invalid",
    "example.org": "url_invalid",
    "http://10.0.0.1/": "url_not_allowed",
    "http://0x0a000001/": "url_not_allowed",
    "http://169.254.169.254/latest/meta-data/": "url_not_allowed",
    "http://[::1]:6379/": "url_not_allowed",
    "http://[::ffff:10.0.0.1]/": "url_not_allowed",
    "https://127.0.0.1@10.0.0.1/": "url_not_allowed",
    "https://name.invalid/": "url_unreachable",
}


@pytest.fixture
def endpoint() -> Iterator[Receiver]:
    with receiver() as server:
        yield server


@pytest.fixture
def webhook(api: httpx.Client, endpoint: Receiver) -> dict:
    response = api.post(WEBHOOKS, json={"url": endpoint.url})
    assert response.status_code == 201
    assert response.headers["Location"] == f"{WEBHOOKS}/{response.json()['id']}"
    return response.json()


def deliveries(api: httpx.Client, webhook: dict) -> list[dict]:
    return api.get(f"{WEBHOOKS}/{webhook['id']}/deliveries").json()["deliveries"]


def told(message: Received, webhook: dict) -> dict:
    """What a message says, once its signature has been checked."""
    return Webhook(webhook["secret"]).verify(message.body, message.headers)


def test_a_webhook_is_registered_once_read_and_deleted(api, endpoint, webhook) -> None:
    assert api.post(WEBHOOKS, json={"url": endpoint.url}).json() == webhook
    listed = [
        entry for entry in api.get(WEBHOOKS).json()["webhooks"] if entry["url"] == endpoint.url
    ]
    without_secret = {name: value for name, value in webhook.items() if name != "secret"}
    assert listed == [without_secret]
    assert api.get(f"{WEBHOOKS}/{webhook['id']}").json() == without_secret
    assert api.delete(f"{WEBHOOKS}/{webhook['id']}").status_code == 204
    for response in (
        api.get(f"{WEBHOOKS}/{webhook['id']}"),
        api.delete(f"{WEBHOOKS}/{webhook['id']}"),
        api.post(f"{WEBHOOKS}/{webhook['id']}/test"),
        api.get(f"{WEBHOOKS}/{webhook['id']}/deliveries"),
        api.post(f"{WEBHOOKS}/{webhook['id']}/deliveries/msg_1/retry"),
    ):
        refused(response, 404, "webhook_not_found")
    assert api.post(WEBHOOKS, json={"url": endpoint.url}).json()["secret"] != webhook["secret"]


@pytest.mark.parametrize(("url", "code"), REFUSED.items())
def test_addresses_that_nothing_may_be_sent_to_are_refused(api, short_wav, url, code) -> None:
    refused(api.post(WEBHOOKS, json={"url": url}), 422, code)
    before = api.get(TASKS).json()["tasks"]
    refused(upload(api, short_wav, webhook_url=url), 422, code)
    assert api.get(TASKS).json()["tasks"] == before


@pytest.mark.parametrize("body", [{}, {"url": ""}, {"url": 7}, {"url": "http://x", "more": 1},
                                  {"url": "http://127.0.0.1/" + "x" * 2000}])  # fmt: skip
def test_other_bodies_are_refused(api, body) -> None:
    assert api.post(WEBHOOKS, json=body).status_code == 422


def test_a_test_is_sent_at_once_and_says_what_came_of_it(api, endpoint, webhook) -> None:
    outcome = api.post(f"{WEBHOOKS}/{webhook['id']}/test").json()
    assert (outcome["delivered"], outcome["status_code"], outcome["error"]) == (True, 200, None)
    assert outcome["duration_ms"] > 0
    (got,) = endpoint.received
    assert got.id == outcome["delivery_id"]
    assert told(got, webhook)["type"] == "webhook.test"

    endpoint.status = 404
    outcome = api.post(f"{WEBHOOKS}/{webhook['id']}/test").json()
    assert (outcome["delivered"], outcome["status_code"]) == (False, 404)
    assert outcome["error"] == "The server answered 404."
    states = [(entry["state"], entry["type"]) for entry in deliveries(api, webhook)]
    assert states == [("failed", "webhook.test"), ("delivered", "webhook.test")]


def test_a_message_that_was_changed_or_is_old_is_not_believed(api, endpoint, webhook) -> None:
    api.post(f"{WEBHOOKS}/{webhook['id']}/test")
    (got,) = endpoint.received
    assert told(got, webhook)
    ours, body = Webhook(webhook["secret"]), got.body
    for changed in (body[:-1], body + b" ", body.replace(b"webhook", b"webhoox", 1)):
        with pytest.raises(WebhookVerificationError):
            ours.verify(changed, got.headers)
    hour_ago = str(int(got.headers["webhook-timestamp"]) - 3600)
    for header, value in (("webhook-id", "msg_other"), ("webhook-timestamp", hour_ago)):
        with pytest.raises(WebhookVerificationError):
            ours.verify(body, got.headers | {header: value})
    other = api.post(WEBHOOKS, json={"url": endpoint.url + "?other"}).json()
    with pytest.raises(WebhookVerificationError):
        told(got, other)


def test_a_message_that_was_overheard_is_not_believed_later(
    api, endpoint, webhook, monkeypatch
) -> None:
    """The same bytes with the same signature, ten minutes on by the receiver's clock."""
    import standardwebhooks.webhooks as library

    api.post(f"{WEBHOOKS}/{webhook['id']}/test")
    (got,) = endpoint.received
    assert told(got, webhook)

    class Later(library.datetime):
        @classmethod
        def now(cls, tz=None):
            return super().now(tz) + library.timedelta(minutes=10)

    monkeypatch.setattr(library, "datetime", Later)
    with pytest.raises(WebhookVerificationError, match="too old"):
        told(got, webhook)


def test_the_end_of_a_task_is_told_to_the_webhook_that_it_names(api, endpoint, short_wav) -> None:
    task_id = upload(api, short_wav, webhook_url=endpoint.url).json()["id"]
    silent = upload(api, short_wav).json()["id"]
    (got,) = endpoint.wait_for(1, 60)
    webhook = api.post(WEBHOOKS, json={"url": endpoint.url}).json()
    event = told(got, webhook)
    task = api.get(f"{TASKS}/{task_id}").json()
    assert task["webhook_id"] == webhook["id"]
    assert event["type"] == "task.completed"
    for name in ("id", "status", "file_name", "warnings", "error", "attempt", *MOMENTS):
        assert event["data"][name] == task[name]
    assert api.get(event["data"]["task_path"]).json()["id"] == task_id
    text = api.get(event["data"]["result_path"]).json()["text"]
    assert "morning" in text
    assert b"morning" not in got.body
    assert got.path == "/hook"

    wait_for_end(api, silent)
    wait_until(lambda: deliveries(api, webhook)[0]["state"] == "delivered")
    (entry,) = deliveries(api, webhook)
    assert (entry["id"], entry["task_id"], entry["type"]) == (got.id, task_id, "task.completed")
    assert (entry["attempts"], entry["status_code"], entry["error"]) == (1, 200, None)
    assert len(endpoint.received) == 1

    # Whatever became of it, it is sent again on request: the same message.
    retried = api.post(f"{WEBHOOKS}/{webhook['id']}/deliveries/{got.id}/retry")
    assert retried.status_code == 202
    assert retried.json()["state"] == "open"
    again = endpoint.wait_for(2)[1]
    assert (again.id, again.body) == (got.id, got.body)
    assert told(again, webhook) == event


def test_a_task_that_was_cancelled_is_told_as_such(api, endpoint, webhook) -> None:
    task_id = upload(api, SAMPLE, webhook_url=endpoint.url).json()["id"]
    api.post(f"{TASKS}/{task_id}/cancel").raise_for_status()
    (got,) = endpoint.wait_for(1)
    event = told(got, webhook)
    assert (event["type"], event["data"]["id"]) == ("task.cancelled", task_id)
    assert event["data"]["result_path"] is None


def test_an_endpoint_that_is_gone_is_disabled_until_it_is_registered_again(
    api, endpoint, webhook, short_wav
) -> None:
    endpoint.status = 410
    upload(api, short_wav, webhook_url=endpoint.url)
    endpoint.wait_for(1, 60)
    wait_until(lambda: api.get(f"{WEBHOOKS}/{webhook['id']}").json()["disabled_at"] is not None)
    wait_until(lambda: deliveries(api, webhook)[0]["state"] == "failed")
    (entry,) = deliveries(api, webhook)
    assert entry["status_code"] == 410
    url = f"{WEBHOOKS}/{webhook['id']}/deliveries/{entry['id']}/retry"
    refused(api.post(url), 409, "webhook_disabled")

    endpoint.status = 200
    assert api.post(WEBHOOKS, json={"url": endpoint.url}).json() == webhook
    assert api.post(url).status_code == 202
    endpoint.wait_for(2)


def test_a_key_names_a_task_and_its_webhook(api, endpoint, short_wav) -> None:
    """The same request again makes no second task; with another webhook it is another request."""

    def send(url: str) -> httpx.Response:
        with short_wav.open("rb") as file:
            return api.post(f"{TASKS}/upload", files={"file": file}, data={"webhook_url": url},
                            headers={"Idempotency-Key": endpoint.url})  # fmt: skip

    first = send(endpoint.url)
    assert send(endpoint.url).json()["id"] == first.json()["id"]
    refused(send(endpoint.url + "?other"), 422, "idempotency_key_reused")
    endpoint.wait_for(1, 60)


def test_the_command_line_names_a_webhook(stack: Stack, endpoint, short_wav) -> None:
    stack.command("transcribe", str(short_wav), "--webhook-url", endpoint.url)
    (got,) = endpoint.wait_for(1)
    assert json.loads(got.body)["type"] == "task.completed"
    assert abs(int(got.headers["webhook-timestamp"]) - time.time()) < 60


def test_the_receiver_of_the_documentation_works(api, tmp_path) -> None:
    page = (ROOT / "docs" / "webhooks.md").read_text()
    script, port = tmp_path / "receiver.py", free_port()
    script.write_text(page.partition("```python\n")[2].partition("```")[0])
    url = f"http://127.0.0.1:{port}/"
    webhook = api.post(WEBHOOKS, json={"url": url}).json()
    running = subprocess.Popen(
        [sys.executable, str(script), str(port)],
        env=os.environ | {"WEBHOOK_SECRET": webhook["secret"]},
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        wait_until(lambda: is_open(port))
        assert api.post(f"{WEBHOOKS}/{webhook['id']}/test").json()["status_code"] == 204
        forged = {"webhook-id": "msg_1", "webhook-timestamp": str(int(time.time())),
                  "webhook-signature": "v1,AAAA"}  # fmt: skip
        assert httpx.post(url, json={"type": "task.completed"}, headers=forged).status_code == 400
    finally:
        running.terminate()
    printed, _ = running.communicate(timeout=10)
    assert printed == f"webhook.test {{'webhook_id': '{webhook['id']}'}}\n"


def is_open(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
