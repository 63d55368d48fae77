"""Working folders that are known to be abandoned when their process is gone, however it went.

Each is locked by whoever works in it (flock(2)); the kernel gives the lock back when the process
ends. A folder without a lock is what a killed process left. Imports nothing of the project.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Between being made and being locked, a folder or file must not be taken for an abandoned one.
_GRACE_SECONDS = 60.0


@contextmanager
def working_folder(parent: Path) -> Iterator[Path]:
    """Make an empty folder below `parent`, which is removed when the block ends.

    Raises:
        OSError: It cannot be made; the disk may be full.
    """
    parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="work-", dir=parent))
    try:
        with locked(folder):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Mark a folder or file as in use by this process, while the block runs."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def remove_abandoned(parent: Path, grace_seconds: float = _GRACE_SECONDS) -> int:
    """Remove what lies in a folder and nobody works with; returns how many entries there were.

    Raises:
        OSError: The folder cannot be read.
    """
    removed = 0
    for entry in parent.iterdir() if parent.exists() else ():
        try:
            is_old = time.time() - entry.stat().st_mtime >= grace_seconds
            if is_old and not _is_in_use(entry):
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
                removed += 1
        except FileNotFoundError:  # somebody else was quicker
            continue
    return removed


def _is_in_use(path: Path) -> bool:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
