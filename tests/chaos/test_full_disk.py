"""The folder of temporary files is on a disk that is full."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from core.workspace import locked
from tests.chaos.backend import Backend, wait_for
from tests.chaos.ledger import Ledger, post
from tests.chaos.recordings import Recordings


@contextmanager
def full(folder: Path) -> Iterator[None]:
    """Fill a disk to the last byte while the block runs."""
    ballast = folder / "ballast"
    try:
        with ballast.open("wb", 0) as out, suppress(OSError):
            while True:
                out.write(bytes(1 << 16))
        assert shutil.disk_usage(folder).free == 0
        with locked(ballast):  # or it would be swept up as abandoned
            yield
    finally:
        ballast.unlink()


def left(folder: Path) -> list[str]:
    ours = ("diarizer-", "ballast")
    return [path.name for path in folder.iterdir() if not path.name.startswith(ours)]


def test_a_full_disk_fails_tasks_for_now_and_leaves_no_files(
    backend: Backend, ledger: Ledger, recordings: Recordings
) -> None:
    """They end with a reason, and can be tried again when there is room."""
    folder = backend.stack.data_dir / "tmp"
    if not folder.is_mount():
        pytest.skip("a small disk can be mounted by root only")
    large = recordings.make(12)  # more than what the failing task gives back
    with backend.tools.held("decoding"):
        promise = ledger.upload(recordings.make(4))
        wait_for(lambda: list(folder.glob("work-*/source")), "its source is there")
        with full(folder):
            (backend.tools.folder / "hold-decoding").unlink()
            with httpx.Client(base_url=backend.url, timeout=60) as client:
                refused = post(client, large, "refused")
            ledger.wait(promise)
            assert left(folder) == []
        (backend.tools.folder / "hold-decoding").touch()
    assert refused.status_code == 503, refused.text
    assert refused.json()["code"] == "disk_full"
    assert int(refused.headers["Retry-After"]) > 0
    job = backend.job(promise.id)
    assert (job["status"], job["error"]["code"]) == ("failed", "disk_full")
    assert job["error"]["retryable"]

    retried = httpx.post(f"{backend.url}/api/v1/tasks/{promise.id}/retry", timeout=30)
    assert retried.status_code == 202
    ledger.check_completed(promise)
    assert left(folder) == []
    ledger.check_nothing_left()
