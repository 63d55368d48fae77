"""The diarizer in a process of its own: how a consumer keeps it, and how a stage asks it.

A model takes seconds to load and keeps its memory. So it lives beside the consumer, in a process
that outlasts single jobs: a crash there costs one attempt, and replacing the process now and then
gives back whatever memory has piled up (docs/decisions/0009).
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from core.errors import AppError
from core.logger import logged_operation, logger
from worker.diarizer import DiarizerOptions, SpeakerHints
from worker.errors import EngineFailed, EngineMissing
from worker.known_voices import KnownVoices
from worker.process import begin_engine
from worker.transcript import Diarization

_ROOT = Path(__file__).resolve().parent.parent
_PING_SECONDS = 3.0
_STOP_SECONDS = 5.0
_BACKLOG = 8
# Less than other engines yield: it takes seconds to load, for which its first task has to wait.
_NICENESS = 5
# Paths of sockets may have 107 bytes (unix(7)); ours adds "/diarizer-xxxxxxxx/socket".
_LONGEST_PARENT_BYTES = 80

OnProgress = Callable[[float], Awaitable[None]]


class DiarizerProcess:
    """The parent's side: starts the process, notices its end, replaces it.

    The listening socket is ours, so that whoever connects while the process is being replaced
    waits instead of failing.
    """

    def __init__(
        self,
        options: DiarizerOptions,
        folder: Path,
        *,
        jobs_per_process: int,
        log_level: str = "INFO",
        log_format: str = "text",
    ) -> None:
        """Open the socket, in a folder of its own below `folder`; nothing is started yet."""
        self._folder = _make_folder(folder)
        # Like every working folder, it is locked by who works in it: `core.workspace`.
        self._lock = os.open(self._folder, os.O_RDONLY)
        fcntl.flock(self._lock, fcntl.LOCK_SH)
        self.socket_path = self._folder / "socket"
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.socket_path))
        self._listener.listen(_BACKLOG)
        self._options = options
        self._jobs_per_process = jobs_per_process
        self._log_level, self._log_format = log_level, log_format
        self._process: subprocess.Popen[bytes] | None = None
        self._jobs = 0

    def ensure_running(self) -> None:
        """Start the process if there is none, or it has ended."""
        if self._process is not None and self._process.poll() is None:
            return
        if self._process is not None:
            logger.warning("the diarizer ended with status {}", self._process.returncode)
        self._jobs = 0
        self._process = subprocess.Popen(
            [sys.executable, "-m", "worker.diarizer_server"],
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            pass_fds=[self._listener.fileno()],
            # Threads that wait must not spin: transcription works on the same processors.
            env=os.environ | {"OMP_WAIT_POLICY": "passive", "HF_HUB_DISABLE_PROGRESS_BARS": "1"},
            preexec_fn=partial(begin_engine, _NICENESS),
        )
        assert self._process.stdin is not None
        start = {
            "socket": self._listener.fileno(),
            "options": asdict(self._options),
            "log_level": self._log_level,
            "log_format": self._log_format,
        }
        with self._process.stdin as stdin:
            stdin.write(json.dumps(start).encode() + b"\n")

    def settle(self) -> None:
        """After a job: replace the process if it has done enough, or is still busy with it."""
        self._jobs += 1
        if self._jobs >= self._jobs_per_process:
            logger.info("the diarizer has done {} jobs: replacing it", self._jobs)
            self._stop()
        elif self._process is not None and self._process.poll() is None and not self._is_idle():
            logger.warning("the diarizer is stuck: replacing it")
            self._stop()

    def close(self) -> None:
        """End the process and remove the socket."""
        self._stop()
        self._listener.close()
        os.close(self._lock)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _is_idle(self) -> bool:
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(_PING_SECONDS)
                connection.connect(str(self.socket_path))
                connection.sendall(b'{"ping": true}\n')
                return bool(connection.recv(64))
        except OSError:
            return False

    def _stop(self) -> None:
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None


def _make_folder(parent: Path) -> Path:
    """Make a folder that only we can enter; elsewhere if a socket's path would get too long."""
    parent.mkdir(parents=True, exist_ok=True)
    fits = len(os.fsencode(parent)) <= _LONGEST_PARENT_BYTES
    return Path(tempfile.mkdtemp(prefix="diarizer-", dir=parent if fits else None))


class DiarizerClient:
    """A stage's side: asks the process that listens on a socket."""

    def __init__(self, socket_path: Path) -> None:
        self._socket_path = socket_path

    async def diarize(
        self,
        wav: Path,
        hints: SpeakerHints,
        on_progress: OnProgress | None = None,
        known: KnownVoices | None = None,
    ) -> Diarization:
        """Return the speaker turns of a recording.

        Args:
            wav: 16 kHz mono 16-bit; the answer is written beside it.
            hints: About the number of speakers.
            on_progress: Awaited with the share done, 0 to 1.
            known: People to look for among the speakers.

        Raises:
            EngineMissing: A package, the token, the licence or the pipeline is missing.
            EngineFailed: The process crashed or could not do it (retryable).
        """
        with logged_operation("ask the diarizer", translate=_translate, quiet=True):
            out = wav.with_suffix(".turns.json")
            reader, writer = await asyncio.open_unix_connection(self._socket_path)
            try:
                request = {
                    "wav": str(wav),
                    "out": str(out),
                    "hints": asdict(hints),
                    "known": known and asdict(known),
                }
                writer.write(json.dumps(request, default=str).encode() + b"\n")
                while not await _finished(await reader.readline(), on_progress):
                    pass
            finally:
                writer.close()
            content = await asyncio.to_thread(out.read_bytes)
            return Diarization.from_dict(json.loads(content))


async def _finished(line: bytes, on_progress: OnProgress | None) -> bool:
    """Act on one reply; True for the last one."""
    if not line:
        raise EngineFailed("The diarizer crashed or was killed.", code="diarization_failed")
    reply: dict[str, Any] = json.loads(line)
    if "error" in reply:
        error = reply["error"]
        kind = EngineFailed if error["retryable"] else EngineMissing
        raise kind(error["message"], code=error["code"])
    if "progress" in reply and on_progress is not None:
        await on_progress(reply["progress"])
    return bool(reply.get("done"))


def _translate(error: Exception) -> AppError | None:
    if isinstance(error, OSError | ValueError):
        return EngineFailed(
            f"The diarizer cannot be asked ({type(error).__name__}).", code="diarization_failed"
        )
    return None
