"""kill -9 of the consumer, of its work-horse, of both, mid-chunk; and SIGTERM."""

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import psutil
import pytest

from tests.chaos.backend import Backend, wait_for
from tests.chaos.ledger import Ledger, Promise
from tests.chaos.recordings import Recordings

RESUMED_WITHIN = 30


def mid_batch(backend: Backend, promise: Promise) -> tuple[psutil.Process, dict]:
    """Wait for a work-horse that has one chunk of its batch done and is at the next."""

    def found() -> tuple[psutil.Process, dict] | None:
        words = promise.recording.words
        begun = backend.tools.journal(promise.tag, "begin")
        done = backend.done_words(promise.id)
        running = {"job_id": promise.id, "state": "running", "kind": "transcribe"}
        for unit in backend.database.units.find(running):
            first, *others = [words[index] for index in unit["chunks"]]
            for engine in backend.engines(promise.tag):
                is_of_unit = f"{unit['chunks'][0]:06}.wav" in " ".join(engine.cmdline())
                if is_of_unit and first in done and others and others[0] in begun:
                    return engine.parent(), unit
        return None

    return wait_for(found, f"a work-horse amid the chunks of {promise}")


def kill_work_horse(work_horse: psutil.Process) -> None:
    work_horse.kill()


def kill_consumer(work_horse: psutil.Process) -> None:
    work_horse.parent().kill()


def kill_both(work_horse: psutil.Process) -> None:
    consumer = work_horse.parent()
    work_horse.kill()
    consumer.kill()


@dataclass
class Killed:
    """A task that was disturbed, the unit that was being done, and what was finished of it."""

    promise: Promise
    unit: dict
    finished: list[str]
    resumed: Future[float]


@pytest.fixture(scope="module")
def killed(shared: Backend, recordings: Recordings) -> Iterator[list[Killed]]:
    """Three tasks amid whose chunks something was killed: it takes a while until that is seen."""
    shared.wait_until_well()
    with ThreadPoolExecutor(3) as watchers:
        found = []
        for kill in (kill_work_horse, kill_consumer, kill_both):
            promise = Ledger(shared).upload(recordings.make(8), "sleep=0.5")
            work_horse, unit = mid_batch(shared, promise)
            finished = shared.done_words(promise.id)
            kill(work_horse)
            resumed = watchers.submit(seconds_until_resumed, shared, unit)
            found.append(Killed(promise, unit, finished, resumed))
        yield found


def seconds_until_resumed(backend: Backend, unit: dict) -> float:
    killed_at = time.monotonic()

    def claimed_again() -> bool:
        now = backend.database.units.find_one({"_id": unit["_id"]})
        return now is None or now["attempt"] > unit["attempt"]

    wait_for(claimed_again, f"{unit} is claimed again")
    return time.monotonic() - killed_at


def test_a_consumer_that_is_stopped_finishes_its_batch(
    backend: Backend, ledger: Ledger, recordings: Recordings, killed: list[Killed]
) -> None:
    """SIGTERM: nothing is redone, and no failure is counted."""
    promise = ledger.upload(recordings.make(6), "sleep=0.5")
    work_horse, _ = mid_batch(backend, promise)
    consumer = work_horse.parent()
    os.kill(consumer.pid, signal.SIGTERM)

    ledger.check_completed(promise)
    ledger.check_once(promise)
    assert (backend.crashes(promise.id), backend.failures(promise.id)) == (0, 0)
    wait_for(lambda: not consumer.is_running(), "the consumer ended")


@pytest.mark.parametrize("what", [0, 1, 2], ids=["work-horse", "consumer", "both"])
def test_what_a_killed_consumer_was_at_is_resumed_by_another(
    backend: Backend, ledger: Ledger, killed: list[Killed], what: int
) -> None:
    """Within half a minute, and without redoing the chunks that were finished."""
    disturbed = killed[what]
    promise = disturbed.promise
    ledger.check_completed(promise)
    assert disturbed.resumed.result() < RESUMED_WITHIN
    begun = backend.tools.journal(promise.tag, "begin")
    assert disturbed.finished
    assert [begun.count(word) for word in disturbed.finished] == [1] * len(disturbed.finished)
    assert backend.crashes(promise.id) == 1
    assert backend.failures(promise.id) == 0


@pytest.mark.chaos_long
def test_a_consumer_that_is_stopped_gives_back_what_takes_too_long(
    backend: Backend, ledger: Ledger, recordings: Recordings
) -> None:
    """After its grace; what it has finished by then is kept."""
    promise = ledger.upload(recordings.make(8), "sleep=5.5")
    work_horse, _ = mid_batch(backend, promise)
    consumer = work_horse.parent()
    os.kill(consumer.pid, signal.SIGTERM)
    wait_for(lambda: not consumer.is_running(), "the consumer ended")
    finished = backend.done_words(promise.id)

    ledger.check_completed(promise)
    begun = backend.tools.journal(promise.tag, "begin")
    assert [begun.count(word) for word in finished] == [1] * len(finished)
    assert (backend.crashes(promise.id), backend.failures(promise.id)) == (0, 0)
    assert len(begun) <= 9
