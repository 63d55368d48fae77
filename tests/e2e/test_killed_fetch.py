"""A consumer that is killed while it downloads a recording."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

import httpx
import psutil

from tests.api.support import wait_until
from tests.conftest import Stack, wait_for_end
from tests.remote import Request, a_remote

TASKS = "/api/v1/tasks"


def horse_connected_to(stack: Stack, port: int) -> psutil.Process | None:
    """The stack's process that has a connection to a port."""
    for process in psutil.process_iter():
        try:
            if process.environ().get("DATA_DIR") != str(stack.data_dir):
                continue
            ports = [c.raddr.port for c in process.net_connections() if c.raddr]
        except psutil.Error:
            continue
        if port in ports and process.status() != psutil.STATUS_ZOMBIE:
            return process
    return None


def test_another_consumer_fetches_it(api: httpx.Client, stack: Stack, short_wav: Path) -> None:
    content, killed = short_wav.read_bytes(), threading.Event()

    def behave(request: Request) -> None:
        if len(request.server.remote.requests) > 1:
            request.answer(content)
            return
        request.send_response(200)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content[: len(content) // 2])
        killed.wait(60)

    with a_remote() as remote:
        url = remote.serve("/a.wav", behave)
        port = int(url.split(":")[2].partition("/")[0])
        task_id = api.post(f"{TASKS}/from-url", json={"url": url}).json()["id"]
        wait_until(lambda: bool(remote.requests), 30)
        horse = horse_connected_to(stack, port)
        assert horse is not None

        horse.kill()
        killed.set()

        task = wait_for_end(api, task_id)
    assert (task["status"], task["error"]) == ("completed", None)
    assert len(remote.requests) == 2
    metadata = api.get(f"{TASKS}/{task_id}/metadata").json()
    assert metadata["sha256"] == hashlib.sha256(content).hexdigest()
