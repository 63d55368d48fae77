"""A webhook that could not be delivered before everything was stopped is delivered afterwards."""

from __future__ import annotations

import time
from pathlib import Path

import httpx
from standardwebhooks import Webhook

from tests.conftest import Stack, upload
from tests.receiver import receiver

WEBHOOKS = "/api/v1/webhooks"


def test_a_webhook_survives_a_restart(second: Stack, short_wav: Path) -> None:
    with receiver() as endpoint, httpx.Client(base_url=second.url, timeout=60) as api:
        endpoint.status = 503
        task_id = upload(api, short_wav, webhook_url=endpoint.url).json()["id"]
        (first,) = endpoint.wait_for(1, 60)
        webhook = api.post(WEBHOOKS, json={"url": endpoint.url}).json()
        refused = wait_for_delivery(api, webhook, status_code=503)
        assert refused["state"] == "open"
        second.command("down")
        before = len(endpoint.received)

        endpoint.status = 204
        second.command("up", "--detach")
        # The next attempt is due five seconds after the first.
        again = endpoint.wait_for(before + 1, 60)[-1]
        assert (again.id, again.body) == (first.id, first.body)
        event = Webhook(webhook["secret"]).verify(again.body, again.headers)
        assert (event["type"], event["data"]["id"]) == ("task.completed", task_id)
        delivered = wait_for_delivery(api, webhook, state="delivered")
        assert (delivered["id"], delivered["status_code"]) == (first.id, 204)
        assert delivered["attempts"] >= 2


def wait_for_delivery(api: httpx.Client, webhook: dict, **fields: object) -> dict:
    """Wait until the webhook's only delivery has these fields."""
    deadline = time.monotonic() + 20
    while True:
        (entry,) = api.get(f"{WEBHOOKS}/{webhook['id']}/deliveries").json()["deliveries"]
        if fields.items() <= entry.items():
            return entry
        assert time.monotonic() < deadline, entry
        time.sleep(0.05)
