"""A backend that can be looked into, and disturbed."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
import xmlrpc.client
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil
import pymongo
import pymongo.errors
import pytest
import redis
from dotenv import dotenv_values
from supervisor.xmlrpc import SupervisorTransport

from core.messaging import SPEECH_QUEUE
from internal.stack.files import StackFiles
from tests.conftest import ROOT, Stack
from worker.media import find_ffmpeg

T = TypeVar("T")

LONG = os.environ.get("CHAOS_LONG") == "1"
MOST_ATTEMPTS = 3 if LONG else 2
ENDED = ("completed", "failed", "cancelled")
_AWAY = (httpx.TransportError, pymongo.errors.PyMongoError, psutil.Error, OSError)
_CONSUMERS = ("consumers", "short", "diarizers")


def wait_for(condition: Callable[[], T], what: str, seconds: float = 60) -> T:
    """Ask again and again until the answer is a true one; who is away has not answered yet."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with suppress(*_AWAY):
            if answer := condition():
                return answer
        time.sleep(0.05)
    pytest.fail(f"not in {seconds:.0f} s: {what}")


@dataclass
class Tools:
    """Stands in for the engines, at the tests' command."""

    folder: Path

    def __post_init__(self) -> None:
        standin = Path(__file__).with_name("standin.py")
        self._write(self.whisper, f'exec "{sys.executable}" -S -E "{standin}" "$@"')
        hold = 'while [ -e "$CHAOS_DIR/hold-decoding" ]; do sleep 0.05; done'
        probe = 'while [ -e "$CHAOS_DIR/hold-probing" ]; do sleep 0.05; done'
        # Decoding writes a file, probing does not.
        choice = f'case "$*" in *"-f wav -y"*) {hold} ;; *) {probe} ;; esac'
        self._write(self.ffmpeg, f'{choice}\nexec "{find_ffmpeg()}" "$@"')

    @property
    def whisper(self) -> Path:
        return self.folder / "whisper-cli"

    @property
    def ffmpeg(self) -> Path:
        return self.folder / "ffmpeg"

    @property
    def settings(self) -> dict[str, str]:
        return {
            "CHAOS_DIR": str(self.folder),
            "WHISPER_EXECUTABLE": str(self.whisper),
            "FFMPEG_EXECUTABLE": str(self.ffmpeg),
        }

    @contextmanager
    def held(self, what: str) -> Iterator[None]:
        """Let every ffmpeg wait while the block runs: `decoding` or `probing`."""
        flag = self.folder / f"hold-{what}"
        flag.touch()
        try:
            yield
        finally:
            flag.unlink(missing_ok=True)

    def cure(self, tag: str) -> None:
        """Let the poison in a job's recording do no harm from now on."""
        (self.folder / f"cured-{tag}").touch()

    def journal(self, tag: str, event: str) -> list[str]:
        """The words of the clips that were begun, or done, for a job; in order."""
        lines = (self.folder / "journal").read_text().splitlines()
        fields = [line.split() for line in lines]
        return [word for _, what, whose, word in fields if (what, whose) == (event, tag)]

    @staticmethod
    def _write(path: Path, script: str) -> None:
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)


@dataclass
class Backend:
    """The processes of a stack, and the servers behind it."""

    stack: Stack
    tools: Tools
    _watching: threading.Event = field(default_factory=threading.Event)
    _units: dict[str, dict[str, Any]] = field(default_factory=dict)
    _ends: dict[tuple[str, int], str] = field(default_factory=dict)
    relapses: list[dict[str, Any]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return self.stack.url

    def address(self, name: str) -> str:
        """A setting of the running stack."""
        return dotenv_values(StackFiles(self.stack.data_dir).env)[name] or ""

    @cached_property
    def database(self) -> Any:
        """What MongoDB holds."""
        url = self.address("MONGODB_URL")
        client = pymongo.MongoClient(url, serverSelectionTimeoutMS=500, socketTimeoutMS=5000)
        return client["stt"]

    @cached_property
    def redis(self) -> redis.Redis:
        port, password = self.address("REDIS_PORT"), self.address("REDIS_PASSWORD")
        return redis.Redis(port=int(port), password=password, socket_timeout=5)

    # Jobs

    def job(self, task_id: str) -> dict[str, Any]:
        """A job's document."""
        return self.database.jobs.find_one({"_id": task_id}) or {}

    def has_ended(self, task_id: str) -> bool:
        return self.job(task_id).get("status") in ENDED

    def done_words(self, task_id: str) -> list[str]:
        """What has been committed of a job's transcript."""
        done = self.database.chunks.find({"job_id": task_id, "status": "done"}).sort("index")
        return [word["word"] for c in done for s in c["segments"] for word in s["words"]]

    def history(self, task_id: str) -> list[dict[str, Any]]:
        """The last that was seen of each unit that there was for a job."""
        return [unit for unit in self._units.values() if unit["job_id"] == task_id]

    def failures(self, task_id: str) -> int:
        return sum(unit["failures"] for unit in self.history(task_id))

    def crashes(self, task_id: str) -> int:
        return sum(unit["crashes"] for unit in self.history(task_id))

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Keep seeing what becomes of units while the block runs."""
        thread = threading.Thread(target=self._watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._watching.set()
            thread.join()

    def _watch(self) -> None:
        for look in itertools.count():
            if self._watching.wait(0.05):
                return
            with suppress(pymongo.errors.PyMongoError):
                self._units |= {unit["_id"]: unit for unit in self.database.units.find()}
                if look % 20 == 0:
                    self._watch_ends()

    def _watch_ends(self) -> None:
        """See to it that no job that has ended ever does anything else, unless it is asked to."""
        for job in self.database.jobs.find({}, {"status": 1, "attempt": 1}):
            attempt = (job["_id"], job["attempt"])
            end = self._ends.get(attempt)
            if end is not None and end != job["status"]:
                self.relapses.append(job)
            elif job["status"] in ENDED:
                self._ends[attempt] = job["status"]

    # Processes

    @property
    def _supervisor(self) -> Any:
        socket = StackFiles(self.stack.data_dir).socket
        transport = SupervisorTransport(None, None, serverurl=f"unix://{socket}")
        return xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport).supervisor

    def processes(self) -> dict[str, int]:
        """The pids of the programs that run, by name: redis, mongo, api, consumers_0, …"""
        found = self._supervisor.getAllProcessInfo()
        return {p["name"]: p["pid"] for p in found if p["statename"] == "RUNNING"}

    def stop(self, *names: str) -> None:
        for name in names:
            self._supervisor.stopProcess(f"{name.partition('_')[0]}:{name}")

    def start(self, *names: str) -> None:
        for name in names:
            self._supervisor.startProcess(f"{name.partition('_')[0]}:{name}")

    @contextmanager
    def stopped(self, *names: str) -> Iterator[None]:
        self.stop(*names)
        try:
            yield
        finally:
            self.start(*names)

    def kill(self, name: str) -> None:
        os.kill(self.processes()[name], signal.SIGKILL)

    def of_ours(self) -> list[psutil.Process]:
        """Every process that was started by this stack, whosever child it is."""
        found = []
        for process in psutil.process_iter(["environ"]):
            environment = process.info["environ"] or {}
            if environment.get("DATA_DIR") == str(self.stack.data_dir):
                found.append(process)
        return found

    def engines(self, tag: str = "") -> list[psutil.Process]:
        """The engines that run for a job; without a tag, for anybody, ffmpeg among them."""
        found = []
        for process in self.of_ours():
            with suppress(psutil.Error):
                if _is_engine(process, tag):
                    found.append(process)
        return found

    def wait_for_engine(self, tag: str, seconds: float = 60) -> psutil.Process:
        return wait_for(lambda: self.engines(tag), f"an engine of {tag}", seconds)[0]

    def work_horses(self, program: str = "") -> list[psutil.Process]:
        """The forks that do the work: not what consumers keep, which was there before."""
        found = []
        for name, pid in self.processes().items():
            if name.partition("_")[0] in ([program] if program else _CONSUMERS):
                children = psutil.Process(pid).children()
                forks = [c for c in children if "diarizer_server" not in " ".join(c.cmdline())]
                found += sorted(forks, key=psutil.Process.create_time)[1:]
        return found

    # Rest

    def wait_until_well(self) -> None:
        """Wait until every process runs and the servers answer."""

        def is_well() -> bool:
            states = [p["statename"] for p in self._supervisor.getAllProcessInfo()]
            health = httpx.get(f"{self.url}/health/ready").json()["status"]
            return health == "ok" and set(states) == {"RUNNING"}

        wait_for(is_well, "every process is well")

    def kill_all(self) -> None:
        """Kill the supervisor, and see that everything else dies with it."""
        files = StackFiles(self.stack.data_dir)
        os.kill(int(files.pid.read_text()), signal.SIGKILL)
        wait_for(lambda: not self.of_ours(), "no process is left", 20)
        files.socket.unlink()

    def spawn_consumer(self, **changes: str) -> subprocess.Popen[bytes]:
        """Start another consumer of speech beside those of the stack."""
        script = ROOT / "cmd" / "consumer" / "main.py"
        log = (self.stack.data_dir / "logs" / "spawned.log").open("ab")
        with log:
            return subprocess.Popen(
                [sys.executable, str(script), "--queue", SPEECH_QUEUE],
                env=self.stack.environment | changes,
                stdout=log,
                stderr=log,
                cwd=ROOT,
            )


def _is_engine(process: psutil.Process, tag: str) -> bool:
    command = process.cmdline()
    if not tag:
        return "-of" in command or any("ffmpeg" in part for part in command[:2])
    asked = " ".join(command).split()
    return f"tag={tag}" in asked or process.environ().get("CHAOS_TAG") == tag
