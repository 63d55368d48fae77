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

from tests.chaos.backend import LONG, Backend
from tests.chaos.ledger import Ledger, Promise
from tests.chaos.recordings import Recordings

JOBS = int(os.environ.get("CHAOS_JOBS", "100" if LONG else "10"))
SEED = int(os.environ.get("CHAOS_SEED", "20"))
CLIENTS = 4
PAUSE_SECONDS = (0.5, 1.5)
VICTIMS = ("consumers", "consumers", "short", "work-horse", "work-horse", "api", "redis", "mongo")


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
        return ledger.insist(noise[number], f"sleep={0.1 + number % 4 / 10}", seconds=1200)

    killer = Killer(backend, SEED)
    killer.start()
    try:
        with ThreadPoolExecutor(CLIENTS) as clients:
            promises = list(clients.map(send, range(JOBS)))
    finally:
        killer.stop()
    print(f"{JOBS} accepted in {time.monotonic() - started:.0f} s; killed: {dict(killer.killed)}")

    backend.wait_until_well()
    ledger.wait(seconds=1200)
    ledger.check_completed(*promises)
    ledger.check_settled()
    made = {job["_id"] for job in backend.database.jobs.find()} - before
    assert made == {promise.id for promise in promises}
    assert len(made) == JOBS
    ledger.check_nothing_left()
    print(f"calm after {time.monotonic() - started:.0f} s")
