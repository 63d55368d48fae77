"""One disturbed backend for all of these tests, apart from the one that the others share."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.chaos.backend import LONG, MOST_ATTEMPTS, Backend, Tools
from tests.chaos.ledger import Ledger
from tests.chaos.recordings import Recordings
from tests.conftest import plan_stack

DISK_BYTES = 256 << 20
SETTINGS = {
    "LOG_LEVEL": "DEBUG",
    "CONSUMER_CONCURRENCY": "2",
    "RECONCILE_SECONDS": "1",
    "SWEEP_SECONDS": "3",
    "ORPHAN_GRACE_SECONDS": "5",
    "MONGODB_TIMEOUT_MS": "1000",
    "JOB_MAX_ATTEMPTS": str(MOST_ATTEMPTS),
    "CHUNK_TIMEOUT_SECONDS": "6",
    "MAX_DURATION_SECONDS": "600",
    "MIN_FREE_DISK_BYTES": "0",
}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the long forms to `make chaos`."""
    if LONG:
        return
    left_out = [item for item in items if item.get_closest_marker("chaos_long")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="package")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Tools:
    return Tools(tmp_path_factory.mktemp("tools"))


@pytest.fixture(scope="package")
def recordings(tmp_path_factory: pytest.TempPathFactory, tools: Tools) -> Recordings:
    return Recordings(tmp_path_factory.mktemp("noise"), tools.whisper)


@pytest.fixture(scope="package")
def shared(tmp_path_factory: pytest.TempPathFactory, tools: Tools) -> Iterator[Backend]:
    stack = plan_stack(tmp_path_factory, "chaos", **SETTINGS, **tools.settings)
    with small_disk(stack.data_dir / "tmp"):
        stack.command("up", "--detach")
        backend = Backend(stack, tools)
        try:
            with backend.watched():
                yield backend
        finally:
            backend.kill_all()


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """Mount a disk that can be filled, where we may."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "chaos", str(folder)]
    is_mounted = subprocess.run(mount, capture_output=True).returncode == 0
    try:
        yield
    finally:
        if is_mounted:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def backend(shared: Backend) -> Backend:
    """The backend, calm again after whatever was done to it before."""
    shared.wait_until_well()
    return shared


@pytest.fixture
def ledger(backend: Backend) -> Ledger:
    return Ledger(backend)
