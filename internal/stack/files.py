"""What the embedded stack writes into its data folder before it starts."""

from __future__ import annotations

import configparser
import hashlib
import secrets
import shutil
import socket
import sys
import sysconfig
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from core.config import PROJECT_ROOT, STACK_ENV_FILE, Settings
from core.errors import Misconfigured
from core.messaging import DIARIZATION_QUEUE, SHORT_QUEUE, SPEECH_QUEUE

SERVERS = ("redis", "mongo")
APPLICATIONS = ("api", "consumers", "short", "diarizers")

_LOG_BYTES = 10 * 1024 * 1024
# A consumer gets this long after SIGTERM to finish what it is at, or to give it back.
_CONSUMER_STOP_SECONDS = 30
# The API, to answer the requests under way (internal/api/server.py).
_STOP_SECONDS = 25


@dataclass(frozen=True)
class StackFiles:
    """Where the stack in one data folder keeps its things."""

    data_dir: Path

    @property
    def env(self) -> Path:
        """Settings of the running stack; every command reads it while it exists."""
        return self.data_dir / STACK_ENV_FILE

    @property
    def logs(self) -> Path:
        """One file per process."""
        return self.data_dir / "logs"

    @property
    def config(self) -> Path:
        """Supervisord's configuration."""
        return self.data_dir / "stack" / "supervisord.conf"

    @property
    def redis_config(self) -> Path:
        """redis-server's configuration."""
        return self.data_dir / "stack" / "redis.conf"

    @property
    def pid(self) -> Path:
        """Supervisord's process id."""
        return self.data_dir / "stack" / "supervisord.pid"

    @property
    def socket(self) -> Path:
        """Supervisord's control socket: in /tmp, since socket paths may not exceed 107 bytes."""
        name = hashlib.sha256(str(self.data_dir).encode()).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"stt-{name}.sock"


def write_stack_files(settings: Settings) -> StackFiles:
    """Write the configuration of a stack with fresh ports and a fresh Redis password.

    Raises:
        Misconfigured: A server's package is not installed.
    """
    files = StackFiles(settings.data_dir)
    for folder in (files.logs, files.config.parent, settings.data_dir / "redis",
                   settings.data_dir / "mongo", settings.objects_dir):  # fmt: skip
        folder.mkdir(parents=True, exist_ok=True)
    # What a killed consumer left: nothing else works in this folder while the stack is down.
    shutil.rmtree(settings.temp_dir, ignore_errors=True)
    redis_port, mongo_port = _free_ports(2)
    password = secrets.token_urlsafe(24)
    environment = {
        "DATA_DIR": str(settings.data_dir),
        "API_HOST": settings.api_host,
        "API_PORT": str(settings.api_port),
        "MONGODB_URL": f"mongodb://127.0.0.1:{mongo_port}",
        "REDIS_HOST": "127.0.0.1",
        "REDIS_PORT": str(redis_port),
        "REDIS_DB": "0",
        "REDIS_PASSWORD": password,
        "STORAGE_BACKEND": "folder",
    }
    lines = [f"{name}='{value}'\n" for name, value in environment.items()]
    _write_secret(files.env, "".join(lines))
    _write_secret(files.redis_config, _redis_config(redis_port, password))
    with _open_secret(files.config) as out:
        _supervisor_config(settings, files, mongo_port).write(out)
    return files


def _redis_config(port: int, password: str) -> str:
    return (
        f"bind 127.0.0.1\nport {port}\nrequirepass {password}\n"
        "dir redis\n"
        # Messages survive a restart, and are never evicted to make room.
        'appendonly yes\nappendfsync everysec\nsave ""\nmaxmemory-policy noeviction\n'
    )


def _supervisor_config(
    settings: Settings, files: StackFiles, mongo_port: int
) -> configparser.RawConfigParser:
    config = configparser.RawConfigParser()
    # Paths are relative to the data folder, where the supervisor runs: it expands `%` in its
    # values, some of them twice, so that no folder's name may come into them.
    config["supervisord"] = {
        "nodaemon": "true",
        "logfile": "logs/supervisord.log",
        "logfile_maxbytes": str(_LOG_BYTES),
        "pidfile": "stack/supervisord.pid",
        "childlogdir": "logs",
    }
    config["unix_http_server"] = {"file": _escape(files.socket), "chmod": "0600"}
    config["rpcinterface:supervisor"] = {
        "supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface"
    }
    programs: dict[str, list[object]] = {
        "redis": [_script("redis-server"), "stack/redis.conf"],
        "mongo": [
            _script("nx-27017"), "--host", "127.0.0.1", "--port", mongo_port,
            "--db", "mongo/stt.db", "--pid-file", "stack/mongo.pid",
            "--log-file", "/dev/null",  # it would grow for ever; what goes to stdout is rotated
        ],
        "api": [sys.executable, PROJECT_ROOT / "cmd" / "api" / "main.py"],
        "consumers": _consumer(SPEECH_QUEUE),
        "short": _consumer(SHORT_QUEUE),
        "diarizers": _consumer(DIARIZATION_QUEUE),
    }  # fmt: skip
    for name, argv in programs.items():
        config[f"program:{name}"] = _program(settings, name, [str(part) for part in argv])
    return config


def _program(settings: Settings, name: str, argv: list[str]) -> dict[str, str]:
    wrapped = [sys.executable, str(PROJECT_ROOT / "internal" / "stack" / "child.py"), *argv]
    copies = {
        "consumers": settings.consumer_concurrency,
        "short": 1,
        "diarizers": settings.diarization_concurrency,
    }.get(name)
    process_name = "%(program_name)s_%(process_num)d" if copies else name
    return {
        "command": " ".join(f'"{_escape(part)}"' for part in wrapped),
        **({} if name in SERVERS else {"directory": _escape(PROJECT_ROOT)}),
        "process_name": process_name,
        "numprocs": str(copies or 1),
        "autostart": "true" if name in SERVERS else "false",
        "autorestart": "true",
        "startsecs": "1",
        "startretries": "10",
        "priority": "10" if name in SERVERS else "20",
        "stopwaitsecs": str(_CONSUMER_STOP_SECONDS if copies else _STOP_SECONDS),
        "redirect_stderr": "true",
        "stdout_logfile": f"logs/{process_name}.log",
        "stdout_logfile_maxbytes": str(_LOG_BYTES),
    }


def _consumer(queue: str) -> list[object]:
    return [sys.executable, PROJECT_ROOT / "cmd" / "consumer" / "main.py", "--queue", queue]


def _script(name: str) -> Path:
    """Return a program that a wheel put beside this Python."""
    path = Path(sysconfig.get_path("scripts")) / name
    if not path.exists():
        raise Misconfigured(
            f"{name} is not installed beside this Python. Run `make setup`.", code="not_installed"
        )
    return path


def _free_ports(count: int) -> list[int]:
    """Return ports that are free now, on loopback."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for sock in sockets:
            sock.bind(("127.0.0.1", 0))
        return [sock.getsockname()[1] for sock in sockets]
    finally:
        for sock in sockets:
            sock.close()


def _escape(value: object) -> str:
    """Supervisord expands `%(…)s` in values."""
    return str(value).replace("%", "%%")


def _open_secret(path: Path) -> TextIO:
    path.touch(mode=0o600)
    path.chmod(0o600)
    return path.open("w", encoding="utf-8")


def _write_secret(path: Path, text: str) -> None:
    with _open_secret(path) as out:
        out.write(text)
