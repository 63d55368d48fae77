"""MongoDB, the truth, is away for a while."""

import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.chaos.backend import LONG, Backend
from tests.chaos.ledger import Ledger, post
from tests.chaos.recordings import Recordings

AWAY_SECONDS = 30 if LONG else 4


@pytest.mark.timeout(300)
def test_workers_wait_for_the_database_and_clients_are_told_to(
    backend: Backend, ledger: Ledger, recordings: Recordings
) -> None:
    """503 with Retry-After; no attempt is burned, and what was done is not done again."""
    promises = [ledger.upload(recordings.make(4), "sleep=0.8") for _ in range(2)]
    for promise in promises:
        backend.wait_for_engine(promise.tag)
    refused = recordings.make(1)
    with backend.stopped("mongo"):
        gone = time.monotonic()
        with httpx.Client(base_url=backend.url, timeout=60) as client, ThreadPoolExecutor() as pool:
            task = f"/api/v1/tasks/{promises[0].id}"
            asked = [
                pool.submit(post, client, refused, "refused"),
                pool.submit(client.get, "/api/v1/tasks"),
                pool.submit(client.get, task),
                pool.submit(client.post, f"{task}/cancel"),
            ]
            for answer in [future.result() for future in asked]:
                assert answer.status_code == 503, answer.text
                assert int(answer.headers["Retry-After"]) > 0
                assert answer.json()["code"] == "database_unavailable"
        time.sleep(max(0, gone + AWAY_SECONDS - time.monotonic()))
    ledger.check_completed(*promises)
    ledger.check_once(*promises)
    for promise in promises:
        assert backend.crashes(promise.id) == backend.failures(promise.id) == 0
    assert backend.database.jobs.count_documents({"source.file_name": refused.path.name}) == 0
