"""Running an engine as a subprocess that can neither outlive us nor hang for ever."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import IO

from core.logger import logged_operation
from worker.errors import EngineFailed, EngineMissing

_STDERR_BYTES_KEPT = 256 * 1024
# Other reasons not to start, such as too little memory, pass.
_NOT_EXECUTABLE = (errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.ENOEXEC)
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
# Engines take whatever processor time there is. All else takes little, and somebody waits for it:
# it gets nine times their share. More would starve them where a machine does other work as well.
_ENGINE_NICENESS = 10


@dataclass
class Engine:
    """A running subprocess and the end of what it said on stderr."""

    name: str
    process: asyncio.subprocess.Process
    _tail: bytes = b""

    @property
    def stderr(self) -> str:
        """The end of stderr."""
        return self._tail.decode("utf-8", "replace")

    async def read_stderr(self) -> None:
        """Keep stderr flowing until it ends, remembering the last part."""
        assert self.process.stderr is not None
        while block := await self.process.stderr.read(65536):
            self._tail = (self._tail + block)[-_STDERR_BYTES_KEPT:]

    def last_words(self) -> str:
        """The last non-empty line of stderr, for an error message."""
        lines = [line.strip() for line in self.stderr.splitlines() if line.strip()]
        return lines[-1] if lines else "no message"


async def run(
    argv: Sequence[str], *, timeout_seconds: float, stdin: IO[bytes] | None = None
) -> Engine:
    """Run a command to its end; the exit status is the caller's to judge.

    Args:
        argv: Program and arguments; no shell is involved.
        timeout_seconds: Wall clock after which it is killed.
        stdin: An open file that the command reads as its standard input.

    Raises:
        EngineMissing: The program does not exist.
        EngineFailed: It ran out of time (retryable).
    """
    async with started(argv, stdin=stdin) as engine:
        try:
            async with asyncio.timeout(timeout_seconds):
                await engine.process.wait()
        except TimeoutError as error:
            raise EngineFailed(
                f"{engine.name} did not finish in {timeout_seconds:.0f} s and was stopped.",
                code="engine_timeout",
            ) from error
    return engine


@asynccontextmanager
async def started(argv: Sequence[str], *, stdin: IO[bytes] | None = None) -> AsyncIterator[Engine]:
    """Start a command; however the block ends, the command has ended after it.

    Raises:
        EngineMissing: The program does not exist or cannot be executed.
        EngineFailed: The system could not start it now (retryable).
    """
    name = argv[0].rsplit("/", 1)[-1]
    with logged_operation(f"run {name}", quiet=True):
        try:
            process = await asyncio.create_subprocess_exec(
                *argv,
                stdin=stdin if stdin is not None else asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                preexec_fn=begin_engine,
            )
        except OSError as error:
            if error.errno not in _NOT_EXECUTABLE:
                raise EngineFailed(f"{name} cannot be started: {error.strerror}.") from error
            raise EngineMissing(
                f"{name} cannot be executed. Run `python main.py doctor` to see what is missing."
            ) from error
        engine = Engine(name, process)
        reader = asyncio.create_task(engine.read_stderr())
        try:
            yield engine
        finally:
            if process.returncode is None:
                # Not process.kill(): that may reap the child before asyncio does, which then
                # reports a made-up status.
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)
            await process.wait()
            await reader


def _load_prctl() -> Callable[[int, int], int] | None:
    if not sys.platform.startswith("linux"):
        return None
    prctl: Callable[[int, int], int] = ctypes.CDLL(None).prctl
    return prctl


# Looked up before any fork: between fork and exec nothing may be imported or allocated at length.
_prctl = _load_prctl()


def die_with_parent() -> None:
    """In a child, right after the fork: have the kernel kill it when its parent dies (Linux)."""
    if _prctl is not None:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def begin_engine(niceness: int = _ENGINE_NICENESS) -> None:
    """In a child that is to be an engine, right after the fork: die with the parent, and yield."""
    die_with_parent()
    os.nice(niceness)
