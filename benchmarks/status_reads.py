"""How quickly the API says how far a task is, by the rate at which it is asked.

`python benchmarks/status_reads.py` starts a stack with default settings, has a long recording
transcribed all the while, and asks for its status and that of finished tasks at 25 to 400 requests
a second; then the same again with nothing else to do. The requests are sent by a process on the
same machine, whose processors the engines, the servers and the API share.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import httpx

from open_loop import HEADER, Measured, Request, drive
from own_stack import own_stack, upload, write_recording

_FINISHED_TASKS = 5
# As many clients as can ask so often without being turned away.
_KEYS = 40
_OWNER = "benchmark"
# The first requests of a new process open its connections to the database.
_WARM_UP = (20.0, 3.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rates", type=float, nargs="+", default=[25, 50, 100, 200, 400])
    parser.add_argument("--seconds", type=float, default=20, help="at each rate")
    parser.add_argument("--minutes", type=float, default=150, help="of the recording transcribed")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, own_stack() as client:
        tokens = [make_key(client)]
        client.headers["Authorization"] = f"Bearer {tokens[0]}"
        tokens += [make_key(client) for _ in range(_KEYS - 1)]
        short = write_recording(Path(folder) / "short.wav", 10)
        finished = [upload(client, short) for _ in range(_FINISHED_TASKS)]
        for task_id in finished:
            wait_for(client, task_id, "status", "completed")
        long = write_recording(Path(folder) / "long.wav", arguments.minutes * 60)
        running = upload(client, long)
        wait_for(client, running, "stage", "transcribe")
        asked = [*[running] * len(finished), *finished]
        requests = [
            Request(f"/api/v1/tasks/{task_id}", {"Authorization": f"Bearer {token}"})
            for task_id in asked
            for token in tokens
        ]
        report("while a recording is transcribed", client, requests, arguments)
        if client.get(f"/api/v1/tasks/{running}").json()["status"] != "processing":
            raise SystemExit("the recording was done too early: give more --minutes")
        client.post(f"/api/v1/tasks/{running}/cancel").raise_for_status()
        time.sleep(5)  # a consumer may take so long to notice
        report("at rest", client, requests, arguments)


def make_key(client: httpx.Client) -> str:
    """Return the token of a new API key."""
    wanted = {"owner": _OWNER, "name": "benchmark", "scopes": ["admin"]}
    answer = client.post("/api/v1/keys", json=wanted)
    answer.raise_for_status()
    return str(answer.json()["token"])


def wait_for(client: httpx.Client, task_id: str, field: str, value: str) -> None:
    while (task := client.get(f"/api/v1/tasks/{task_id}").json())[field] != value:
        if task["status"] == "failed":
            raise SystemExit(f"a task failed: {task['error']}")
        time.sleep(0.2)


def report(
    when: str, client: httpx.Client, requests: list[Request], arguments: argparse.Namespace
) -> None:
    """Print a table of latency by rate."""
    print(f"\nStatus reads {when}:\n\n{HEADER}", flush=True)
    measure(client, requests, *_WARM_UP)
    for rate in arguments.rates:
        print(measure(client, requests, rate, arguments.seconds).row(), flush=True)


def measure(client: httpx.Client, requests: list[Request], rate: float, seconds: float) -> Measured:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as generator:
        address = str(client.base_url).rstrip("/")
        return generator.submit(drive, address, requests, rate, seconds).result()


if __name__ == "__main__":
    main()
