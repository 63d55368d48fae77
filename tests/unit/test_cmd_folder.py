"""The folder `cmd` must not hide the standard library's module of that name."""

import cmd
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

SCRIPTS = sorted(ROOT.glob("cmd/*/main.py"))


def test_the_standard_library_wins() -> None:
    assert cmd.Cmd.__module__ == "cmd"
    assert ROOT not in Path(cmd.__file__).parents
    assert not list(ROOT.glob("cmd/**/__init__.py"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.parent.name)
def test_each_process_starts(script: Path) -> None:
    ran = subprocess.run(
        [sys.executable, str(script), "--help"], capture_output=True, text=True, timeout=60
    )
    assert ran.returncode == 0, ran.stderr
    assert "Usage:" in ran.stdout
