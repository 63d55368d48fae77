"""Starting, watching and stopping the embedded stack, through supervisord."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import os
import socket
import subprocess
import sys
import time
import xmlrpc.client  # nosec B411 # our own supervisor, over a socket that is ours alone
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import psutil
from dotenv import dotenv_values

from core.config import Settings, load_settings
from core.errors import AppError, Misconfigured
from core.logger import logged_operation
from internal.container import open_container
from internal.stack.files import APPLICATIONS, SERVERS, StackFiles, write_stack_files

_START_SECONDS = 90.0
_STOP_SECONDS = 60.0
_POLL_SECONDS = 0.1
_LOG_LINES_SHOWN = 15


@dataclass(frozen=True)
class StackProcess:
    """One process of the stack."""

    name: str
    state: str
    pid: int
    description: str


class StackManager:
    """The stack in one data folder.

    Every method is safe to call twice: starting what runs and stopping what does not are no
    errors.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._files = StackFiles(settings.data_dir)
        self._supervisor: subprocess.Popen[bytes] | None = None

    @property
    def is_running(self) -> bool:
        """Whether the supervisor answers."""
        if not self._files.socket.exists():
            return False
        try:
            self._rpc().supervisor.getState()
        except (OSError, xmlrpc.client.Error, http.client.HTTPException):
            return False
        return True

    def processes(self) -> list[StackProcess]:
        """Return the stack's processes; none while it is down."""
        if not self.is_running:
            return []
        found: Any = self._rpc().supervisor.getAllProcessInfo()
        return [
            StackProcess(p["name"], p["statename"].lower(), p["pid"], p["description"])
            for p in found
        ]

    def start(self, report: Callable[[str], None]) -> None:
        """Start every process and wait until all are well.

        Args:
            report: Called with a line for the user at each step.

        Raises:
            Misconfigured: The API's port is taken, or a part is not installed.
            AppError: A process did not come up; the message holds the end of its log.
        """
        if self.is_running:
            return
        _check_port(self._settings)
        with logged_operation("start stack"):
            write_stack_files(self._settings)
            try:
                self._start_supervisor()
                report("starting redis-server and the MongoDB wire server")
                self._wait("the servers", SERVERS, self._servers_answer)
                report("starting the API and consumers")
                for name in APPLICATIONS:
                    self._rpc().supervisor.startProcessGroup(name, False)
                self._wait("the API", APPLICATIONS, self._api_is_ready)
            except BaseException:
                self.stop()
                raise

    def stop(self) -> bool:
        """Stop every process, letting consumers finish or give back; False if none ran.

        Raises:
            AppError: The supervisor did not end in time.
        """
        was_running = self.is_running
        with logged_operation("stop stack"):
            supervisor = self._supervisor_process()
            if was_running:
                with contextlib.suppress(OSError, xmlrpc.client.Error, http.client.HTTPException):
                    self._stop_applications()
                    self._rpc().supervisor.shutdown()
            if supervisor is not None:
                try:
                    supervisor.wait(_STOP_SECONDS)
                except psutil.TimeoutExpired as error:
                    raise AppError("The stack did not stop in time.") from error
            self._files.env.unlink(missing_ok=True)
            self._files.socket.unlink(missing_ok=True)
        return was_running

    def _start_supervisor(self) -> None:
        argv = [sys.executable, "-m", "supervisor.supervisord", "-c", str(self._files.config)]
        # Its children inherit this, and it comes before whatever else the environment names.
        stack = {name: value or "" for name, value in dotenv_values(self._files.env).items()}
        with (self._files.logs / "supervisord.out").open("wb") as out:
            self._supervisor = subprocess.Popen(  # noqa: S603 - our interpreter and configuration
                argv,
                env=os.environ | stack,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
                cwd=self._settings.data_dir,
            )

    def _stop_applications(self) -> None:
        """Have them all end at the same time, before the servers that they need."""
        for name in APPLICATIONS:
            self._rpc().supervisor.stopProcessGroup(name, False)
        deadline = time.monotonic() + _STOP_SECONDS
        while time.monotonic() < deadline:
            ours = [p for p in self.processes() if p.name.partition("_")[0] in APPLICATIONS]
            if not any(p.state in ("running", "starting", "stopping") for p in ours):
                return
            time.sleep(_POLL_SECONDS)

    def _wait(self, what: str, names: tuple[str, ...], is_well: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            if self.is_running:
                for process in self.processes():
                    ours = process.name.partition("_")[0] in names
                    if ours and process.state in ("fatal", "exited"):
                        end = self._log_end(f"{process.name}.log")
                        raise AppError(f"{process.name} did not start:\n{end}")
                if is_well():
                    return
            elif self._supervisor is not None and self._supervisor.poll() is not None:
                raise AppError(f"The supervisor ended:\n{self._log_end('supervisord.out')}")
            time.sleep(_POLL_SECONDS)
        raise AppError(
            f"{what} did not come up in {_START_SECONDS:.0f} s. Logs: {self._files.logs}"
        )

    def _servers_answer(self) -> bool:
        return asyncio.run(_ping_servers(load_settings()))

    def _api_is_ready(self) -> bool:
        try:
            answer = httpx.get(f"{self._settings.api_url}/health/ready", timeout=5)
        except httpx.HTTPError:
            return False
        return answer.status_code == httpx.codes.OK

    def _log_end(self, name: str) -> str:
        try:
            lines = (self._files.logs / name).read_text(errors="replace").splitlines()
        except OSError:
            return "(it left no log)"
        return "\n".join(lines[-_LOG_LINES_SHOWN:])

    def _supervisor_process(self) -> psutil.Process | None:
        try:
            process = psutil.Process(int(self._files.pid.read_text()))
            ours = str(self._files.config) in process.cmdline()
        except (OSError, ValueError, psutil.Error):
            return None
        return process if ours else None

    def _rpc(self) -> Any:
        # Not at the top: a machine that only runs the API or consumers has no supervisor.
        from supervisor.xmlrpc import SupervisorTransport

        url = f"unix://{self._files.socket}"
        transport = SupervisorTransport(None, None, serverurl=url)
        return xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport)


async def _ping_servers(settings: Settings) -> bool:
    async with open_container(settings) as container:
        try:
            await container.queue.health_check()
            await container.database.health_check()
        except AppError:
            return False
    return True


def _check_port(settings: Settings) -> None:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((settings.api_host, settings.api_port))
        except OSError as error:
            raise Misconfigured(
                f"Port {settings.api_port} cannot be used ({os.strerror(error.errno or 0)}). "
                "Choose another: API_PORT=8001 python main.py up",
                code="port_taken",
            ) from error
