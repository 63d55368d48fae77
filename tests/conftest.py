"""What many tests share: a real backend, started once, and recordings to feed it."""

import json
import os
import socket
import subprocess
import sys
import time
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlparse

import httpx
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
SAMPLE = ROOT / "samples" / "meeting.wav"
START_SECONDS = 120


@dataclass(frozen=True)
class Stack:
    """A running backend and the environment that its commands need."""

    url: str
    data_dir: Path
    environment: dict[str, str]

    def command(self, *arguments: str, check: bool = True, **changes: str) -> "Finished":
        """Run `main.py` with arguments; stdout and stderr come back apart."""
        ran = subprocess.run(
            [sys.executable, str(ROOT / "main.py"), *arguments],
            capture_output=True,
            text=True,
            timeout=150,
            env=self.environment | changes,
            cwd=ROOT,
        )
        assert ran.returncode == 0 or not check, ran.stdout + ran.stderr
        return Finished(ran.returncode, ran.stdout, ran.stderr)


@dataclass(frozen=True)
class Finished:
    status: int
    stdout: str
    stderr: str


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def clean_environment(**changes: str) -> dict[str, str]:
    """The environment without any of our own settings, and with these."""
    ours = {line.partition("=")[0] for line in (ROOT / ".env.example").read_text().splitlines()}
    kept = {name: value for name, value in os.environ.items() if name not in ours}
    return kept | {"PYTHONUNBUFFERED": "1"} | changes


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """API, two consumers and their servers: the embedded ones, or those named in TEST_…"""
    # Tests serve recordings and receive webhooks on this machine.
    settings = {"LOG_LEVEL": "DEBUG", "ALLOWED_NETWORKS": '["127.0.0.0/8"]'}
    if named_servers():
        backend = plan_stack(tmp_path_factory, "stack", **settings, **named_servers())
        yield from run_against_named_servers(backend)
        return
    with own_stack(tmp_path_factory, "stack", **settings) as backend:
        yield backend


@contextmanager
def own_stack(
    tmp_path_factory: pytest.TempPathFactory, name: str, **settings: str
) -> Iterator[Stack]:
    """Start an embedded stack with these settings in a folder of this name; stop it in the end."""
    backend = plan_stack(tmp_path_factory, name, **settings)
    backend.command("up", "--detach")
    try:
        yield backend
    finally:
        backend.command("down")


def plan_stack(tmp_path_factory: pytest.TempPathFactory, name: str, **settings: str) -> Stack:
    """A stack in a new folder and on a free port; nothing is started."""
    data_dir = tmp_path_factory.mktemp(name)
    port = free_port()
    # Tests upload the same recordings again and again, to see them transcribed.
    ours = {"DATA_DIR": str(data_dir), "API_PORT": str(port), "REUSE_TRANSCRIPTS": "false"}
    return Stack(f"http://127.0.0.1:{port}", data_dir, clean_environment(**ours | settings))


def named_servers() -> dict[str, str]:
    """Settings for the servers that the environment names; none for the embedded ones."""
    mongodb, redis = os.environ.get("TEST_MONGODB_URL"), os.environ.get("TEST_REDIS_URL")
    minio = os.environ.get("TEST_MINIO_ENDPOINT")
    if not (mongodb and redis and minio):
        return {}
    address = urlparse(redis)
    return {
        "MONGODB_URL": mongodb,
        "MONGODB_DATABASE": "stt_test",
        "REDIS_HOST": address.hostname or "127.0.0.1",
        "REDIS_PORT": str(address.port or 6379),
        "REDIS_PASSWORD": address.password or "",
        "STORAGE_BACKEND": "minio",
        "MINIO_ENDPOINT": minio,
        "MINIO_ACCESS_KEY": os.environ["TEST_MINIO_ACCESS_KEY"],
        "MINIO_SECRET_KEY": os.environ["TEST_MINIO_SECRET_KEY"],
        "MINIO_BUCKET": "stt-test",
    }


def run_against_named_servers(backend: Stack) -> Iterator[Stack]:
    commands = (
        ["start"],
        ["worker", "--concurrency", "2"],
        ["worker", "--queue", "short", "--concurrency", "1"],
        ["worker", "--queue", "diarization", "--concurrency", "1"],
    )
    processes = [
        subprocess.Popen(
            [sys.executable, str(ROOT / "main.py"), *arguments], env=backend.environment, cwd=ROOT
        )
        for arguments in commands
    ]
    try:
        wait_until_ready(backend.url)
        yield backend
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(60)


def wait_until_ready(url: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"{url}/health/ready").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    pytest.fail(f"no backend came up at {url}")


@pytest.fixture
def api(stack: Stack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.url, timeout=60) as client:
        yield client


@pytest.fixture(scope="session")
def sample_truth() -> dict:
    return json.loads((ROOT / "samples" / "meeting.json").read_text())


@pytest.fixture(scope="session")
def short_wav(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first ten seconds of the sample: a few sentences, one chunk."""
    path = tmp_path_factory.mktemp("audio") / "short.wav"
    with wave.open(str(SAMPLE)) as source:
        frames = source.readframes(10 * source.getframerate())
    write_wav(path, np.frombuffer(frames, "<i2"))
    return path


def write_wav(path: Path, samples: np.ndarray) -> None:
    """Write int16 samples as 16 kHz mono."""
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(16000)
        out.writeframes(samples.astype("<i2").tobytes())


def upload(api: httpx.Client, path: Path, **options: str) -> httpx.Response:
    with path.open("rb") as file:
        return api.post("/api/v1/tasks/upload", files={"file": (path.name, file)}, data=options)


def wait_for_end(api: httpx.Client, task_id: str, seconds: float = 120) -> dict:
    """Poll a task until it ends."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        task = api.get(f"/api/v1/tasks/{task_id}").json()
        if task["status"] in ("completed", "failed", "cancelled"):
            return task
        time.sleep(0.1)
    pytest.fail(f"task {task_id} did not end: {task}")
