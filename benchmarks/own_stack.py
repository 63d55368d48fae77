"""A stack of its own for a benchmark: started, measured, and removed."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parent.parent
SAMPLE = ROOT / "samples" / "meeting.wav"


@contextmanager
def own_stack(**settings: str) -> Iterator[httpx.Client]:
    """Run a whole backend with these settings; yields a client of its API."""
    with tempfile.TemporaryDirectory() as folder, socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        sock.close()
        own = {"DATA_DIR": folder, "API_PORT": str(port), "REUSE_TRANSCRIPTS": "false"}
        environment = os.environ | own | settings
        _run(["up", "--detach"], environment)
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120) as client:
                yield client
        finally:
            _run(["down"], environment)


def _run(arguments: list[str], environment: dict[str, str]) -> None:
    argv = [sys.executable, str(ROOT / "main.py"), *arguments]
    subprocess.run(argv, env=environment, check=True, stderr=subprocess.DEVNULL, timeout=180)  # noqa: S603


def write_recording(path: Path, seconds: float) -> Path:
    """Write the sample recording over and over, until it is exactly so long."""
    with wave.open(str(SAMPLE)) as source, wave.open(str(path), "wb") as out:
        out.setparams(source.getparams())
        frames = source.readframes(source.getnframes())
        size = source.getframerate() * source.getsampwidth()
        left = round(seconds * size)
        while left > 0:
            out.writeframes(frames[:left])
            left -= len(frames)
    return path


def upload(client: httpx.Client, path: Path, **options: str) -> str:
    """Upload a file; returns the task's id."""
    with path.open("rb") as file:
        answer = client.post("/api/v1/tasks/upload", files={"file": file}, data=options)
    answer.raise_for_status()
    return str(answer.json()["id"])
