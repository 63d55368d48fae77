"""The main promise: the sample recording through the whole stack, against its truth."""

import json
import subprocess
from pathlib import Path

import httpx
import pytest

from tests.accuracy import measure, word_error_rate
from tests.conftest import ROOT, SAMPLE, Stack, upload, wait_for_end


@pytest.fixture(scope="module")
def task_id(stack: Stack) -> str:
    with httpx.Client(base_url=stack.url, timeout=60) as api:
        task = upload(api, SAMPLE).json()
        assert wait_for_end(api, task["id"])["status"] == "completed"
    return task["id"]


@pytest.fixture(scope="module")
def transcript(stack: Stack, task_id: str) -> dict:
    return httpx.get(f"{stack.url}/api/v1/tasks/{task_id}/result").json()


def true_words(truth: dict) -> list[dict]:
    return [word for turn in truth["turns"] for word in turn["words"]]


def test_words_are_right_and_in_time(transcript: dict, sample_truth: dict) -> None:
    heard = [word for segment in transcript["segments"] for word in segment["words"]]

    accuracy = measure(true_words(sample_truth), heard)

    assert accuracy.word_error_rate < 0.10
    assert accuracy.timed_within_half_a_second >= 0.95


def test_cutting_costs_no_accuracy(transcript: dict, sample_truth: dict, tmp_path: Path) -> None:
    """Within one point of whisper-cli run over the file in one go."""
    argv = [
        str(ROOT / ".tools" / "whisper-cli"), "-m", str(ROOT / "models/demo/ggml-demo-en.bin"),
        "-mc", "0", "-bs", "5", "-bo", "5", "-oj", "-of", str(tmp_path / "whole"), "-np",
        str(SAMPLE),
    ]  # fmt: skip
    subprocess.run(argv, check=True, capture_output=True, timeout=120)
    whole = json.loads((tmp_path / "whole.json").read_text())
    text = " ".join(entry["text"] for entry in whole["transcription"])
    truth = " ".join(turn["text"] for turn in sample_truth["turns"])

    assert word_error_rate(truth, transcript["text"]) <= word_error_rate(truth, text) + 0.01


def test_words_are_ordered_and_inside_the_recording(transcript: dict) -> None:
    words = [word for segment in transcript["segments"] for word in segment["words"]]
    times = [time for word in words for time in (word["start"], word["end"])]

    assert times == sorted(times)
    assert times[0] >= 0
    assert times[-1] <= transcript["duration"]


def test_the_demo_model_is_named(transcript: dict) -> None:
    assert transcript["models"] == {"transcription": "demo-en"}
    assert any("demo model" in warning for warning in transcript["warnings"])


def test_consumers_shared_the_recording(stack: Stack, task_id: str) -> None:
    """Batches of one job ran in more than one process: their log lines name the job."""
    logs = [path.read_text() for path in (stack.data_dir / "logs").glob("[cs]*o[nr]*_*.log")]
    if not logs:
        pytest.skip("consumers of named servers log to the terminal")
    batches = [
        sum("transcribe batch: done" in line and task_id in line for line in log.splitlines())
        for log in logs
    ]

    assert sum(batches) >= 2
    assert sum(count > 0 for count in batches) >= 2


def test_nothing_but_source_and_transcript_is_kept(stack: Stack, task_id: str) -> None:
    folder = stack.data_dir / "objects" / "jobs" / task_id
    if not folder.exists():
        pytest.skip("objects are in MinIO: tests/contract looks at those")
    names = sorted(path.name for path in folder.iterdir())

    assert len(names) == 2
    assert names[0] == "source"
    assert names[1].startswith("transcript-")
