"""A consumer whose clock is off by an hour, beside one whose clock is right."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.chaos.backend import Backend, wait_for
from tests.chaos.ledger import Ledger
from tests.chaos.recordings import Recordings

HOUR = 3600
RESUMED_WITHIN = 30
SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

static long shift(void) { return atol(getenv("SHIFT_SECONDS")); }

int clock_gettime(clockid_t id, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int status = real(id, now);
    if (!status && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) now->tv_sec += shift();
    return status;
}

int gettimeofday(struct timeval *now, void *zone) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *out) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    if (out) *out = exact.tv_sec;
    return exact.tv_sec;
}
"""


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shim")
    source, library = folder / "shim.c", folder / "shim.so"
    source.write_text(SHIM)
    argv = ["gcc", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"]
    subprocess.run(argv, check=True, timeout=60)
    return library


def shifted(shim: Path, seconds: int) -> dict[str, str]:
    return {"LD_PRELOAD": str(shim), "SHIFT_SECONDS": str(seconds)}


@pytest.mark.chaos_long
@pytest.mark.parametrize("seconds", [HOUR, -HOUR])
def test_a_wrong_clock_neither_takes_leases_nor_keeps_them(
    backend: Backend, ledger: Ledger, recordings: Recordings, shim: Path, seconds: int
) -> None:
    """Nothing is stolen, nothing done twice; and its own death is noticed as any other's."""
    environment = shifted(shim, seconds)
    told = [sys.executable, "-c", "import time; print(time.time())"]
    wrong = float(subprocess.run(told, env=environment, capture_output=True, check=True).stdout)
    assert abs(wrong - time.time() - seconds) < 60

    with only_consumers(backend, {}, environment) as (right, skewed):
        promises = [ledger.upload(recordings.make(8), "sleep=0.4") for _ in range(2)]
        wait_for(lambda: works(backend, promises[0].tag, skewed), "the skewed one works")
        ledger.check_completed(*promises)
        ledger.check_once(*promises)
        for promise in promises:
            assert backend.crashes(promise.id) == backend.failures(promise.id) == 0

        lost = ledger.upload(recordings.make(8), "sleep=0.7")
        wait_for(lambda: works(backend, lost.tag, skewed), "the skewed one works")
        wait_for(lambda: works(backend, lost.tag, right), "the right one works")
        held = [unit["_id"] for unit in backend.database.units.find({"state": "running"})]
        skewed.kill()
        killed = time.monotonic()
        wait_for(lambda: any_crashed(backend, held), "the lease ended")
        assert time.monotonic() - killed < RESUMED_WITHIN
        ledger.check_completed(lost)
        assert backend.crashes(lost.id) == 1


def works(backend: Backend, tag: str, consumer: psutil.Process) -> bool:
    return any(consumer in engine.parents() for engine in backend.engines(tag))


def any_crashed(backend: Backend, units: list[str]) -> bool:
    query = {"_id": {"$in": units}, "crashes": 1, "state": "running"}
    return backend.database.units.count_documents(query) > 0


@contextmanager
def only_consumers(
    backend: Backend, *environments: dict[str, str]
) -> Iterator[tuple[psutil.Process, ...]]:
    """Run these consumers of speech in the place of the stack's own."""
    own = [name for name in backend.processes() if name.startswith(("consumers", "short"))]
    with backend.stopped(*own):
        spawned = [backend.spawn_consumer(**changes) for changes in environments]
        try:
            backend.redis.delete("rq:workers:speech")
            wait_for(lambda: backend.redis.scard("rq:workers:speech") == 2, "both are there")
            yield tuple(psutil.Process(process.pid) for process in spawned)
        finally:
            for process in spawned:
                process.send_signal(signal.SIGTERM)
            for process in spawned:
                process.wait(30)
