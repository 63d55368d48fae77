"""Redis only wakes: it may be away, restarted or emptied at any time."""

import time

import pytest

from tests.chaos.backend import LONG, Backend, wait_for
from tests.chaos.ledger import Ledger
from tests.chaos.recordings import Recordings

AWAY_SECONDS = 60 if LONG else 2


@pytest.mark.timeout(300)
def test_what_is_uploaded_while_redis_is_away_runs_when_it_is_back(
    backend: Backend, ledger: Ledger, recordings: Recordings
) -> None:
    """Job written, enqueue fails: accepted all the same. And what runs, runs on."""
    running = ledger.upload(recordings.make(4), "sleep=0.8")
    backend.wait_for_engine(running.tag)
    with backend.stopped("redis"):
        uploaded = ledger.upload(recordings.make(2))
        gone = time.monotonic()
        wait_for(lambda: len(backend.done_words(running.id)) > 0, "what runs runs on")
        time.sleep(max(0, gone + AWAY_SECONDS - time.monotonic()))
    ledger.check_completed(running, uploaded)
    ledger.check_once(running, uploaded)
    assert backend.crashes(running.id) == backend.failures(running.id) == 0


def test_nothing_is_lost_when_redis_is_emptied(
    backend: Backend, ledger: Ledger, recordings: Recordings
) -> None:
    """FLUSHALL with jobs queued and running."""
    noise = [recordings.make(3) for _ in range(4)]
    promises = [ledger.upload(recording, "sleep=0.6") for recording in noise]
    assert backend.engines()
    assert not backend.has_ended(promises[-1].id)
    backend.redis.flushall()
    ledger.check_completed(*promises)
    ledger.check_once(*promises)
    assert [backend.crashes(promise.id) for promise in promises] == [0] * 4
