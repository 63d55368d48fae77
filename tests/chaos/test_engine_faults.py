"""Engines that are killed, hang or always crash; and a transcript read while it is replaced."""

import json
import signal
import threading
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pytest

from tests.chaos.backend import MOST_ATTEMPTS, Backend, wait_for
from tests.chaos.ledger import Ledger, Promise
from tests.chaos.recordings import RATE, Recording, Recordings
from tests.conftest import SAMPLE, write_wav


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory, recordings: Recordings) -> Recording:
    """The sample's first sentences, with what the real engine hears in them undisturbed."""
    path: Path = tmp_path_factory.mktemp("speech") / "meeting.wav"
    samples = np.frombuffer(SAMPLE.read_bytes()[44:], "<i2")
    write_wav(path, samples[: 25 * RATE])
    return recordings.heard_by_real_engine(path)


@dataclass
class Busy:
    """A queue with all of these in it at once."""

    killed: Promise
    stopped: Promise
    poison: Promise
    one_bad_chunk: Promise
    neighbours: list[Promise]


@pytest.fixture(scope="module")
def busy(shared: Backend, recordings: Recordings, speech: Recording) -> Busy:
    """Upload all of them, and disturb the engines of two."""
    shared.wait_until_well()
    ledger = Ledger(shared)
    noise = recordings.make(5)
    poison = ledger.upload(recordings.make(3), "poison=all")
    one_bad_chunk = ledger.upload(noise, f"poison={noise.words[2]}")
    neighbours = [ledger.upload(recordings.make(2), "sleep=0.2") for _ in range(4)]
    # Real engines are done within seconds: each is waited for as soon as it can be there.
    stopped = ledger.upload(speech, "real=yes")
    shared.wait_for_engine(stopped.tag).send_signal(signal.SIGSTOP)
    killed = ledger.upload(speech, "real=yes")
    gone: set[int] = set()
    for _ in range(MOST_ATTEMPTS - 1):
        engine = wait_for(
            lambda: [e for e in shared.engines(killed.tag) if e.pid not in gone],
            "another engine to kill",
        )[0]
        gone.add(engine.pid)
        engine.kill()
    ledger.wait(seconds=120)
    return Busy(killed, stopped, poison, one_bad_chunk, neighbours)


def test_an_engine_that_is_killed_again_and_again_is_run_again(
    busy: Busy, ledger: Ledger, speech: Recording
) -> None:
    """As one that is out of memory is: by the kernel, and bounded."""
    assert ledger.backend.job(busy.killed.id)["status"] == "completed"
    assert ledger.result(busy.killed)["text"] == speech.text
    assert ledger.backend.failures(busy.killed.id) >= MOST_ATTEMPTS - 1


def test_an_engine_that_hangs_is_killed_by_the_clock_and_run_again(
    busy: Busy, ledger: Ledger, speech: Recording
) -> None:
    """SIGSTOP: it does nothing, and does not end."""
    assert ledger.backend.job(busy.stopped.id)["status"] == "completed"
    assert ledger.result(busy.stopped)["text"] == speech.text
    assert ledger.backend.failures(busy.stopped.id) >= 1


def test_a_file_that_always_crashes_the_engine_ends_with_a_reason(
    busy: Busy, backend: Backend
) -> None:
    """Attempts are bounded; the last one says why."""
    job = backend.job(busy.poison.id)
    assert job["status"] == "failed"
    assert job["error"]["code"] == "engine_failed"
    assert "poison" in job["error"]["message"]
    # Each batch so often, then each half of it once more.
    chunks = len(busy.poison.recording.words)
    assert len(backend.tools.journal(busy.poison.tag, "begin")) <= MOST_ATTEMPTS * 2 * chunks
    assert not backend.engines(busy.poison.tag)


def test_a_chunk_that_always_crashes_the_engine_is_a_gap(busy: Busy, ledger: Ledger) -> None:
    transcript = ledger.result(busy.one_bad_chunk)
    words = list(busy.one_bad_chunk.recording.words)
    assert transcript["text"].split() == [*words[:2], *words[3:]]
    assert len(transcript["gaps"]) == 1


def test_neighbours_of_such_files_finish(busy: Busy, ledger: Ledger) -> None:
    ledger.check_completed(*busy.neighbours)
    ledger.check_once(*busy.neighbours)


def test_a_transcript_that_is_read_while_it_is_replaced_is_old_or_new(
    busy: Busy, ledger: Ledger
) -> None:
    """The gap is filled by trying again; never is half of anything read."""
    promise, backend = busy.one_bad_chunk, ledger.backend
    address = f"{backend.url}/api/v1/tasks/{promise.id}"
    before = ledger.result(promise)
    backend.tools.cure(promise.tag)
    seen, ended = [], threading.Event()

    def read() -> None:
        with httpx.Client(timeout=30) as client:
            while not ended.is_set():
                answer = client.get(f"{address}/result")
                seen.append((answer.status_code, json.loads(answer.text).get("text")))

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    try:
        assert httpx.post(f"{address}/retry", timeout=30).status_code == 202
        wait_for(lambda: backend.job(promise.id)["status"] == "completed", "it is retried")
    finally:
        ended.set()
        for reader in readers:
            reader.join()
    after = ledger.result(promise)
    assert after["text"] == promise.recording.text
    assert after["gaps"] == []
    assert set(seen) <= {(200, before["text"]), (200, after["text"])}
    begun = backend.tools.journal(promise.tag, "begin")
    good = [word for word in promise.recording.words if word in before["text"]]
    assert [begun.count(word) for word in good if begun.count(word) > MOST_ATTEMPTS] == []
