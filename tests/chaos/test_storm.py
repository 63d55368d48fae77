"""All at once: while clients upload, whatever runs is killed at random, again and again."""

import os
import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import psutil
import pytest

from tests.chaos.backend import LONG, Backend, wait_for
from tests.chaos.ledger import Ledger, Promise
from tests.chaos.recordings import Recordings

JOBS = int(os.environ.get("CHAOS_JOBS", "100" if LONG else "8"))
# The storm goes on until so much was killed, and until everything was accepted.
KILLS = JOBS if LONG else 6
SLEEP_SECONDS = 0.4 if LONG else 0.2
SEED = int(os.environ.get("CHAOS_SEED", "20"))
CLIENTS = 4
PAUSE_SECONDS = (0.5, 1.5) if LONG else (0.2, 0.8)
VICTIMS = ["consumers", "consumers", "short", "work-horse", "work-horse", "redis", "mongo"]
if LONG:  # a client whose upload is cut may have to wait for half a minute
    VICTIMS.append("api")


class Killer(threading.Thread):
    """Kills one process after the other until it is told to stop."""

    def __init__(self, backend: Backend, seed: int) -> None:
        super().__init__(daemon=True)
        self._backend = backend
        self._dice = random.Random(seed)
        self._told = threading.Event()
        self.killed: Counter[str] = Counter()

    def run(self) -> None:
        while not self._told.wait(self._dice.uniform(*PAUSE_SECONDS)):
            victim = self._dice.choice(VICTIMS)
            with suppress(psutil.Error, OSError, LookupError):
                self._find(victim).kill()
                self.killed[victim] += 1

    def stop(self) -> None:
        self._told.set()
        self.join()

    def _find(self, victim: str) -> psutil.Process:
        if victim == "work-horse":
            return self._dice.choice(self._backend.work_horses())
        running = sorted(
            (name, pid)
            for name, pid in self._backend.processes().items()
            if name.startswith(victim)
        )
        return psutil.Process(self._dice.choice(running)[1])


@pytest.mark.timeout(3600)
def test_every_accepted_task_ends_as_if_nothing_had_happened(
    backend: Backend, ledger: Ledger, recordings: Recordings
) -> None:
    """One terminal state each, the undisturbed transcript, and nothing left over."""
    before = {job["_id"] for job in backend.database.jobs.find()}
    noise = [recordings.make(1 + number % 6) for number in range(JOBS)]
    started = time.monotonic()

    def send(number: int) -> Promise:
        return ledger.insist(
            noise[number], f"sleep={(1 + number % 4) * SLEEP_SECONDS}", seconds=1200
        )

    killer = Killer(backend, SEED)
    killer.start()
    try:
        with ThreadPoolExecutor(CLIENTS) as clients:
            promises = list(clients.map(send, range(JOBS)))
        accepted = time.monotonic() - started
        wait_for(lambda: killer.killed.total() >= KILLS, "enough was killed", 20 * KILLS)
    finally:
        killer.stop()
    backend.wait_until_well()
    ended = sum(backend.has_ended(promise.id) for promise in promises)
    print(f"{JOBS} accepted in {accepted:.0f} s, {ended} ended in the storm")
    print(f"killed in {time.monotonic() - started:.0f} s: {dict(killer.killed)}")
    ledger.wait(seconds=1200)
    ledger.check_completed(*promises)
    ledger.check_settled()
    made = {job["_id"] for job in backend.database.jobs.find()} - before
    assert made == {promise.id for promise in promises}
    assert len(made) == JOBS
    ledger.check_nothing_left()
    print(f"calm after {time.monotonic() - started:.0f} s")
