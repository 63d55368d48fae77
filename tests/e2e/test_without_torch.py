"""A machine without torch and pyannote.audio: everything works but speaker labels."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.conftest import ROOT, Stack, clean_environment, own_stack, upload, wait_for_end

MISSING = "Speaker labels need torch and pyannote.audio. Install them with"
# Python runs this before anything else, in every process: these packages are as if not installed.
SITECUSTOMIZE = """
import sys
from importlib.machinery import PathFinder

class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torchaudio", "torchcodec", "pyannote"):
            return None
        return super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Without
"""
MODULES = (
    "internal.api.app", "internal.cli.status", "internal.consumer.handlers.units",
    "internal.consumer.pool", "internal.consumer.worker", "worker.diarizer",
    "worker.diarizer_process", "worker.diarizer_server", "worker.processor",
)  # fmt: skip


@pytest.fixture(scope="module")
def without_torch(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("site")
    (folder / "sitecustomize.py").write_text(SITECUSTOMIZE)
    return {"PYTHONPATH": str(folder)}


@pytest.fixture(scope="module")
def bare(
    tmp_path_factory: pytest.TempPathFactory, without_torch: dict[str, str]
) -> Iterator[Stack]:
    """A stack of its own on such a machine."""
    with own_stack(tmp_path_factory, "bare", WHISPER_THREADS="1", **without_torch) as backend:
        yield backend


def run_python(code: str, environment: dict[str, str]) -> str:
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=ROOT,
        env=clean_environment() | environment,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


def test_such_a_machine_can_be_had(without_torch: dict[str, str]) -> None:
    code = "from importlib.util import find_spec; print(find_spec('torch') is None)"
    assert run_python(code, without_torch) == "True"
    assert run_python(code, {}) == "False"


@pytest.mark.parametrize("module", MODULES)
def test_nothing_of_ours_needs_them_to_be_imported(
    without_torch: dict[str, str], module: str
) -> None:
    run_python(f"import {module}", without_torch)


def test_nothing_of_ours_imports_them_unasked() -> None:
    packages = "{name.partition('.')[0] for name in sys.modules} & {'torch', 'pyannote'}"
    code = f"import sys, {', '.join(MODULES)}; print({packages} or 'none')"
    assert run_python(code, {}) == "none"


def test_doctor_says_what_to_install_and_is_content(bare: Stack) -> None:
    ran = bare.command("doctor")
    (line,) = (line for line in ran.stdout.splitlines() if " speakers " in line)
    assert line.startswith("-- ")
    assert MISSING in line
    assert "FAIL" not in ran.stdout


def test_recordings_are_transcribed_and_say_why_there_are_no_speakers(
    bare: Stack, short_wav: Path
) -> None:
    with httpx.Client(base_url=bare.url, timeout=60) as api:
        task = wait_for_end(api, upload(api, short_wav, diarize="true").json()["id"])
        assert task["status"] == "completed"
        assert any(MISSING in warning for warning in task["warnings"])
        address = f"/api/v1/tasks/{task['id']}"
        transcript = api.get(f"{address}/result").json()
        assert transcript["text"].startswith("Good morning everyone.")
        assert transcript["speakers"] == []

        assert api.post(f"{address}/rediarize").status_code == 202
        task = wait_for_end(api, task["id"])
        assert task["status"] == "completed"
        assert any(MISSING in warning for warning in task["warnings"])
        assert api.get(f"{address}/result").json() == transcript
