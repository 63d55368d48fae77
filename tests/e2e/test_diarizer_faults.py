"""A diarizer that crashes, is missing, or is asked for in vain: the transcript is never lost."""

import signal
import time
from pathlib import Path

import httpx
import psutil
import pytest

from tests.conftest import SAMPLE, Stack, upload, wait_for_end


def find_diarizer(stack: Stack, seconds: float = 60) -> psutil.Process:
    """Wait for a diarizer that works for this stack."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for process in psutil.process_iter(["cmdline", "environ"]):
            is_diarizer = "worker.diarizer_server" in (process.info["cmdline"] or [])
            data_dir = (process.info["environ"] or {}).get("DATA_DIR")
            if is_diarizer and data_dir == str(stack.data_dir):
                return process
        time.sleep(0.02)
    pytest.fail("no diarizer ran")


def wait_for_diarization(api: httpx.Client, task_id: str, seconds: float = 90) -> None:
    """Wait until some of the speakers' part is done, but not all."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        share = api.get(f"/api/v1/tasks/{task_id}").json()["progress"]["diarization_percent"]
        if share:
            assert share < 100, "too late to disturb it"
            return
        time.sleep(0.05)
    pytest.fail("diarization never began")


def test_a_killed_diarizer_is_replaced_and_asked_again(stack: Stack, api: httpx.Client) -> None:
    if not (stack.data_dir / "logs").exists():
        pytest.skip("which diarizer serves named servers is not known")
    task_id = upload(api, SAMPLE, diarize="true").json()["id"]
    wait_for_diarization(api, task_id)
    diarizer = find_diarizer(stack)
    diarizer.send_signal(signal.SIGKILL)

    task = wait_for_end(api, task_id, seconds=150)

    assert task["status"] == "completed"
    assert not any("no speaker labels" in warning for warning in task["warnings"])
    speakers = api.get(f"/api/v1/tasks/{task_id}/result").json()["speakers"]
    assert len(speakers) == 3


def test_without_a_pipeline_the_transcript_comes_without_speakers_and_says_why(
    second: Stack, short_wav: Path
) -> None:
    with httpx.Client(base_url=second.url, timeout=60) as api:
        task_id = upload(api, short_wav, diarize="true").json()["id"]
        task = wait_for_end(api, task_id, seconds=150)
        transcript = api.get(f"/api/v1/tasks/{task_id}/result").json()

    assert task["status"] == "completed"
    (reason,) = (warning for warning in task["warnings"] if "speaker labels" in warning)
    assert "no diarization pipeline in" in reason
    assert reason in transcript["warnings"]
    assert transcript["text"].startswith("Good morning everyone.")
    assert transcript["speakers"] == transcript["turns"] == []
    assert {segment["speaker"] for segment in transcript["segments"]} == {None}
    assert "diarization" not in transcript["models"]


def test_asking_again_in_vain_changes_nothing(second: Stack, short_wav: Path) -> None:
    with httpx.Client(base_url=second.url, timeout=60) as api:
        task_id = upload(api, short_wav).json()["id"]
        assert wait_for_end(api, task_id, seconds=150)["status"] == "completed"
        before = api.get(f"/api/v1/tasks/{task_id}/result").json()
        assert api.post(f"/api/v1/tasks/{task_id}/rediarize").status_code == 202
        task = wait_for_end(api, task_id)
        after = api.get(f"/api/v1/tasks/{task_id}/result").json()

    assert task["status"] == "completed"
    assert any("could not be found again" in warning for warning in task["warnings"])
    assert after == before


def test_doctor_names_the_missing_pipeline_and_is_otherwise_content(second: Stack) -> None:
    ran = second.command("doctor")
    (line,) = (line for line in ran.stdout.splitlines() if "speakers" in line)
    assert line.startswith("--")
    assert "no diarization pipeline in" in line
