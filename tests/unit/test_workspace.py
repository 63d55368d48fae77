"""Working folders: kept for as long as somebody works in them, and removed after a kill."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from core.config import PROJECT_ROOT
from core.workspace import locked, remove_abandoned, working_folder

SCRIPT = """
import sys
from pathlib import Path
from core.workspace import working_folder

with working_folder(Path(sys.argv[1])) as folder:
    (folder / "audio.wav").write_bytes(b"half")
    print(folder, flush=True)
    sys.stdin.read()
"""


@contextmanager
def worker(parent: Path) -> Iterator[tuple[subprocess.Popen, Path]]:
    """Run a process that works in a folder of its own until its stdin ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(parent)],
        cwd=PROJECT_ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process, Path(process.stdout.readline().strip())
        finally:
            process.kill()


def test_a_folder_lasts_as_long_as_its_block(tmp_path):
    with working_folder(tmp_path / "new") as folder:
        (folder / "deep").mkdir()
        (folder / "deep" / "file").touch()
        assert folder.parent == tmp_path / "new"
    assert list((tmp_path / "new").iterdir()) == []


def test_a_folder_goes_when_its_block_fails(tmp_path):
    with pytest.raises(OSError, match="full"), working_folder(tmp_path):
        raise OSError("the disk is full")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_a_live_process_stays_and_that_of_a_killed_one_goes(tmp_path):
    with worker(tmp_path) as (_, living), worker(tmp_path) as (killed, left):
        assert remove_abandoned(tmp_path, 0) == 0
        killed.kill()
        killed.wait()
        assert (left / "audio.wav").exists()
        assert remove_abandoned(tmp_path, 0) == 1
        assert list(tmp_path.iterdir()) == [living]
        assert (living / "audio.wav").exists()


def test_a_process_that_ends_cleans_up_itself(tmp_path):
    with worker(tmp_path) as (process, folder):
        process.communicate("", timeout=30)
        assert process.returncode == 0
        assert not folder.exists()


def test_what_is_new_is_not_taken_for_abandoned(tmp_path):
    """Between being made and being locked."""
    (tmp_path / "new").mkdir()
    (tmp_path / "old").write_bytes(b"x")
    os.utime(tmp_path / "old", (0, 0))
    assert remove_abandoned(tmp_path, 60) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_a_locked_file_stays_however_old(tmp_path):
    path = tmp_path / "partial"
    path.write_bytes(b"x")
    os.utime(path, (0, 0))
    with locked(path):
        assert remove_abandoned(tmp_path, 60) == 0
    assert remove_abandoned(tmp_path, 60) == 1


def test_a_folder_that_is_not_there_holds_nothing(tmp_path):
    assert remove_abandoned(tmp_path / "none") == 0
