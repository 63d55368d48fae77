"""The command line against a real stack."""

import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import srt

from tests.conftest import ROOT, SAMPLE, Stack, clean_environment, free_port, wait_for_end


def test_transcribe_prints_the_transcript_alone(stack: Stack, short_wav: Path) -> None:
    ran = stack.command("transcribe", str(short_wav))

    assert ran.stdout.startswith("Good morning everyone.\nThanks for joining.\n")
    assert "100 %" in ran.stderr
    assert "demo model" in ran.stderr


def test_transcribe_writes_a_file(stack: Stack, short_wav: Path, tmp_path: Path) -> None:
    out = tmp_path / "subtitles.srt"

    ran = stack.command("transcribe", str(short_wav), "-f", "srt", "-o", str(out))

    assert ran.stdout == ""
    assert next(srt.parse(out.read_text())).content == "Good morning everyone."


def test_one_bad_file_does_not_stop_the_others(
    stack: Stack, short_wav: Path, tmp_path: Path
) -> None:
    bad = tmp_path / "notes.mp3"
    bad.write_text("no recording")
    good = tmp_path / "good.wav"
    shutil.copy(short_wav, good)

    ran = stack.command(
        "transcribe", str(bad), str(good), "-f", "json", "-o", str(tmp_path / "out"), check=False
    )

    assert ran.status == 1
    assert "notes.mp3: The file is not a recording" in ran.stderr
    transcript = json.loads((tmp_path / "out" / "good.json").read_text())
    assert transcript["text"].startswith("Good morning")


def test_options_reach_the_server(stack: Stack, short_wav: Path) -> None:
    ran = stack.command("transcribe", str(short_wav), "--model", "none-such", check=False)

    assert ran.status == 1
    assert "'none-such' is not installed" in ran.stderr


@pytest.mark.parametrize(("option", "said"), [("--keep", "later: "), ("--no-keep", "removed")])
def test_ctrl_c(stack: Stack, api: httpx.Client, option: str, said: str) -> None:
    """The server goes on with it, unless it is not to keep it."""
    before = {task["id"] for task in api.get("/api/v1/tasks").json()["tasks"]}
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "main.py"), "transcribe", str(SAMPLE), option],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=stack.environment, cwd=ROOT,
    )  # fmt: skip
    assert process.stderr is not None
    shown = b""
    while b"chunk 0 of" not in shown:
        more = process.stderr.read1(1000)
        assert more, shown
        shown += more

    process.send_signal(signal.SIGINT)

    printed, errors = process.communicate(timeout=30)
    assert (process.returncode, printed) == (1, b"")
    assert said in errors.decode()
    assert b"Traceback" not in errors
    made = {task["id"] for task in api.get("/api/v1/tasks").json()["tasks"]} - before
    assert len(made) == (1 if option == "--keep" else 0)
    for task_id in made:
        assert f"/api/v1/tasks/{task_id}/result" in errors.decode()
        assert wait_for_end(api, task_id)["status"] == "completed"


def test_transcribe_without_a_server(short_wav: Path, stack: Stack) -> None:
    url = f"http://127.0.0.1:{free_port()}"

    ran = stack.command("transcribe", str(short_wav), "--url", url, check=False)

    assert ran.status == 1
    assert "python main.py up" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_status(stack: Stack) -> None:
    ran = stack.command("status")

    queues = re.findall(r"^  (\w+): \d+ waiting, \d+ running, (\d+) consumers$", ran.stdout, re.M)
    assert dict(queues) == {"speech": "2", "short": "1", "diarization": "1"}
    assert "demo-en  (default)" in ran.stdout


def test_doctor_finds_all_well(stack: Stack) -> None:
    ran = stack.command("doctor")

    names = [line.split()[1] for line in ran.stdout.splitlines() if line.startswith("ok")]
    assert [name for name in names if name != "speakers"] == [  # those may be missing
        "python", "ffmpeg", "whisper", "model", "disk", "mongodb", "redis", "storage", "api",
    ]  # fmt: skip


def test_doctor_says_how_to_mend(stack: Stack, tmp_path: Path) -> None:
    empty = clean_environment(DATA_DIR=str(tmp_path), API_PORT=str(free_port()))
    broken = Stack(stack.url, tmp_path, empty)

    ran = broken.command(
        "doctor",
        check=False,
        WHISPER_EXECUTABLE=str(tmp_path / "none"),
        WHISPER_MODEL="base.en",
        MONGODB_URL=f"mongodb://127.0.0.1:{free_port()}",
        MONGODB_TIMEOUT_MS="300",
        REDIS_PORT=str(free_port()),
        MINIO_ENDPOINT=f"127.0.0.1:{free_port()}",
    )

    assert ran.status == 1
    failed = {line.split()[1] for line in ran.stdout.splitlines() if line.startswith("FAIL")}
    assert failed == {"whisper", "model", "mongodb", "redis", "storage", "api"}
    assert "models pull base.en" in ran.stdout
    assert "python main.py up" in ran.stdout


def test_models_list(stack: Stack) -> None:
    ran = stack.command("models", "list")

    assert "* demo-en" in ran.stdout
    assert "models pull large-v3-turbo" in ran.stdout


def test_pulling_an_unknown_model(stack: Stack) -> None:
    ran = stack.command("models", "pull", "gpt", check=False)

    assert ran.status == 1
    assert "There is no model 'gpt'" in ran.stderr


def test_init_storage_can_be_repeated(stack: Stack) -> None:
    stack.command("init-storage")
    stack.command("init-storage")


def test_a_wrong_setting_is_named(stack: Stack) -> None:
    ran = stack.command("status", check=False, API_PORT="eighty")

    assert ran.status == 1
    assert "API_PORT" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_down_where_nothing_runs(stack: Stack, tmp_path: Path) -> None:
    other = Stack(stack.url, tmp_path, clean_environment(DATA_DIR=str(tmp_path)))

    assert "nothing was running" in other.command("down").stderr


def test_up_on_a_taken_port(stack: Stack, tmp_path: Path) -> None:
    taken = stack.url.rpartition(":")[2]
    environment = clean_environment(DATA_DIR=str(tmp_path), API_PORT=taken)

    ran = Stack(stack.url, tmp_path, environment).command("up", "--detach", check=False)

    assert ran.status == 1
    assert f"Port {taken} cannot be used" in ran.stderr
    assert "API_PORT=" in ran.stderr


def test_smoke_script(stack: Stack, short_wav: Path) -> None:
    ran = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "test_upload.py"), str(short_wav),
         "--url", stack.url],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip

    assert ran.returncode == 0, ran.stderr
    assert "Good morning everyone." in ran.stdout
    assert ran.stderr.count("uploading") == 3


@pytest.mark.parametrize("command", ["start", "worker", "up", "transcribe", "models", "demo"])
def test_help(stack: Stack, command: str) -> None:
    assert "Usage:" in stack.command(command, "--help").stdout
