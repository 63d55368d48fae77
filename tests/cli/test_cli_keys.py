"""`keys`, and the commands that send one, against a stack that has some."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.conftest import ROOT, Stack, clean_environment, free_port, own_stack

TOKEN = re.compile(r"stt_[0-9a-f]{16}_[0-9a-f]{48}\n")


@pytest.fixture(scope="module")
def shut(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack that has keys."""
    with own_stack(tmp_path_factory, "shut") as backend:
        log = (backend.data_dir / "logs" / "api.log").read_text()
        assert "there are no API keys" in log
        backend.command("keys", "create", "--owner", "root", "--name", "first", "--scope", "admin")
        yield backend


@pytest.fixture(scope="module")
def token(shut: Stack) -> str:
    made = shut.command("keys", "create", "--owner", "alice", "--name", "laptop")
    assert TOKEN.fullmatch(made.stdout), made.stdout
    assert "cannot be shown again" in made.stderr
    return made.stdout.strip()


def row_of(shut: Stack, key_id: str) -> list[str]:
    listed = shut.command("keys", "list").stdout
    (row,) = [line for line in listed.splitlines() if line.startswith(key_id)]
    return re.split(r"  +", row)


def test_transcribing_with_a_key(shut: Stack, short_wav: Path, token: str) -> None:
    ran = shut.command("transcribe", str(short_wav), API_KEY=token)

    assert "Good morning everyone." in ran.stdout
    assert token not in ran.stderr
    tasks = httpx.get(f"{shut.url}/api/v1/tasks", headers={"X-API-Key": token}).json()["tasks"]
    assert len(tasks) == 1
    log = (shut.data_dir / "logs" / "api.log").read_text()
    assert f"key={token.split('_')[1]}" in log
    assert token.split("_")[2] not in log


@pytest.mark.parametrize(
    ("key", "said"), [("", "This needs an API key"), ("wrong", "This API key is not valid")]
)
@pytest.mark.parametrize("command", ["transcribe", "demo"])
def test_without_a_valid_key_the_commands_say_what_is_missing(
    shut: Stack, short_wav: Path, command: str, key: str, said: str
) -> None:
    files = [str(short_wav)] if command == "transcribe" else []
    ran = shut.command(command, *files, check=False, API_KEY=key)

    assert (ran.status, ran.stdout) == (1, "")
    assert said in ran.stderr
    assert "Set API_KEY" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_the_smoke_script_sends_a_key(shut: Stack, short_wav: Path, token: str) -> None:
    def run(**changes: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(ROOT / "scripts" / "test_upload.py"), str(short_wav),
             "--url", shut.url],
            capture_output=True, text=True, timeout=120, env=shut.environment | changes,
        )  # fmt: skip

    assert "Good morning everyone." in run(API_KEY=token).stdout
    refused = run()
    assert refused.returncode == 1
    assert "missing_api_key" in refused.stderr


def test_doctor_needs_no_key(shut: Stack) -> None:
    assert re.search(r"^ok +api ", shut.command("doctor").stdout, re.M)


def test_listing_and_revoking(shut: Stack, short_wav: Path) -> None:
    made = shut.command(
        "keys", "create", "--owner", "bob", "--name", "old phone", "--scope", "read", "--scope",
        "write",
    )  # fmt: skip
    key_id, secret = made.stdout.strip().split("_")[1:]
    assert row_of(shut, key_id) == [key_id, "bob", "read write", "never", "old phone"]
    assert secret not in shut.command("keys", "list").stdout

    assert key_id in shut.command("keys", "revoke", key_id).stderr

    assert row_of(shut, key_id)[3] == "revoked"
    ran = shut.command("transcribe", str(short_wav), check=False, API_KEY=made.stdout.strip())
    assert ran.status == 1
    assert "not valid" in ran.stderr


def test_mistakes(shut: Stack) -> None:
    ran = shut.command("keys", "revoke", "0" * 16, check=False)
    assert (ran.status, "There is no API key with this id" in ran.stderr) == (1, True)
    ran = shut.command("keys", "create", "--owner", "a b", "--name", "x", check=False)
    assert (ran.status, ran.stdout, "An owner is" in ran.stderr) == (1, "", True)


def test_without_a_database(shut: Stack, tmp_path: Path) -> None:
    environment = clean_environment(
        DATA_DIR=str(tmp_path),
        MONGODB_URL=f"mongodb://127.0.0.1:{free_port()}",
        MONGODB_TIMEOUT_MS="300",
    )
    ran = Stack(shut.url, tmp_path, environment).command("keys", "list", check=False)
    assert ran.status == 1
    assert "python main.py up" in ran.stderr
    assert "Traceback" not in ran.stderr
