"""Cancelling and deleting, in each stage: within seconds nothing runs for it, and it stays so."""

import time
from contextlib import ExitStack

import httpx
import pytest

from tests.chaos.backend import Backend, wait_for
from tests.chaos.ledger import Ledger, Promise
from tests.chaos.recordings import Recordings

STOPPED_WITHIN = 5


def cancel(backend: Backend, promise: Promise) -> None:
    answer = httpx.post(f"{backend.url}/api/v1/tasks/{promise.id}/cancel", timeout=30)
    assert answer.status_code == 200, answer.text
    assert answer.json()["status"] == "cancelled"


def running(backend: Backend, promise: Promise, kind: str) -> bool:
    query = {"job_id": promise.id, "kind": kind, "state": "running"}
    return backend.database.units.count_documents(query) > 0


def wait_until_stopped(backend: Backend, tag: str = "") -> None:
    """Wait until no engine runs: of a job, or for anybody."""
    asked = time.monotonic()
    wait_for(lambda: not backend.engines(tag), "the engine is stopped", STOPPED_WITHIN + 5)
    assert time.monotonic() - asked < STOPPED_WITHIN


def test_while_it_is_transcribed(backend: Backend, ledger: Ledger, recordings: Recordings) -> None:
    """Retrying it afterwards goes on from there."""
    promise = ledger.upload(recordings.make(4), "sleep=1")
    wait_for(lambda: backend.done_words(promise.id), "a chunk is done")
    backend.wait_for_engine(promise.tag)
    cancel(backend, promise)
    wait_until_stopped(backend, promise.tag)
    kept = backend.done_words(promise.id)
    assert backend.job(promise.id)["status"] == "cancelled"
    assert backend.database.units.count_documents({"job_id": promise.id}) == 0

    again = httpx.post(f"{backend.url}/api/v1/tasks/{promise.id}/retry", timeout=30)
    assert again.status_code == 202
    ledger.check_completed(promise)
    begun = backend.tools.journal(promise.tag, "begin")
    assert [begun.count(word) for word in kept] == [1] * len(kept)


def test_while_it_is_prepared_and_while_it_waits(
    backend: Backend, ledger: Ledger, recordings: Recordings
) -> None:
    """Three are being decoded by all the consumers there are; a fourth waits behind them."""
    noise = [recordings.make(1) for _ in range(4)]
    with backend.tools.held("decoding"):
        prepared = [ledger.upload(recording) for recording in noise[:3]]
        for promise in prepared:
            wait_for(lambda p=promise: running(backend, p, "prepare"), "it is prepared")
        waiting = ledger.upload(noise[3])
        assert backend.job(waiting.id)["status"] == "pending"
        for promise in (waiting, *prepared):
            cancel(backend, promise)
        wait_until_stopped(backend)
    assert backend.database.units.count_documents({}) == 0
    for promise in (waiting, *prepared):
        assert backend.job(promise.id)["status"] == "cancelled"
        assert backend.tools.journal(promise.tag, "begin") == []
    ledger.check_nothing_left()


def test_deleting_while_it_is_worked_on_leaves_nothing(
    backend: Backend, ledger: Ledger, recordings: Recordings
) -> None:
    transcribed = ledger.upload(recordings.make(4), "sleep=3")
    backend.wait_for_engine(transcribed.tag)
    with ExitStack() as held:
        held.enter_context(backend.tools.held("decoding"))
        prepared = ledger.upload(recordings.make(1))
        wait_for(lambda: running(backend, prepared, "prepare"), "it is prepared")
        for promise in (transcribed, prepared):
            deleted = httpx.delete(f"{backend.url}/api/v1/tasks/{promise.id}", timeout=30)
            assert deleted.status_code == 204
        wait_until_stopped(backend)
    for promise in (transcribed, prepared):
        assert backend.job(promise.id) == {}
        assert backend.database.chunks.count_documents({"job_id": promise.id}) == 0
    ledger.promises.clear()
    ledger.check_nothing_left()


def test_at_the_moment_of_its_end(backend: Backend, ledger: Ledger, recordings: Recordings) -> None:
    """Whoever comes first, both tell the same story for ever."""
    for _ in range(3):
        promise = ledger.upload(recordings.make(1))
        wait_for(lambda p=promise: backend.job(p.id)["stage"] in ("merge", "done"), "it is merged")
        answer = httpx.post(f"{backend.url}/api/v1/tasks/{promise.id}/cancel", timeout=30)
        ledger.wait(promise)
        status = backend.job(promise.id)["status"]
        assert (answer.status_code, status) in (
            (200, "cancelled"),
            (409, "completed"),
            (200, "completed"),
        )
        if answer.status_code == 200:
            assert answer.json()["status"] == status
    ledger.check_settled()
    ledger.check_nothing_left()


@pytest.mark.chaos_long
def test_while_its_speakers_are_looked_for(
    backend: Backend, ledger: Ledger, recordings: Recordings
) -> None:
    """The diarizer itself stays, and is there for the next."""
    promise = ledger.upload(recordings.make(8), diarize="true")
    wait_for(
        lambda: (backend.job(promise.id).get("diarization") or {}).get("progress", 0) > 0,
        "speakers are looked for",
        90,
    )
    cancel(backend, promise)
    asked = time.monotonic()
    wait_for(lambda: not backend.work_horses("diarizers"), "nobody works for it")
    assert time.monotonic() - asked < STOPPED_WITHIN
    after = ledger.upload(recordings.make(1), diarize="true")
    ledger.check_completed(after)
    assert backend.job(after.id)["diarization"]["state"] == "done"
    ledger.check_settled()
