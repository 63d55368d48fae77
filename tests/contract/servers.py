"""Starting real servers on free loopback ports, for as long as a block runs."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pymongo
import redis

from core.config import PROJECT_ROOT

REDIS_PASSWORD = "a password/with:odd@signs"
_START_SECONDS = 60.0


@dataclass(frozen=True)
class S3Server:
    """Where an S3 server is, and a login that it accepts."""

    endpoint: str
    access_key: str
    secret_key: str

    def as_settings(self) -> dict[str, Any]:
        return {
            "storage_backend": "minio",
            "minio_endpoint": self.endpoint,
            "minio_access_key": self.access_key,
            "minio_secret_key": self.secret_key,
        }


@contextmanager
def embedded_mongodb(folder: Path, port: int | None = None) -> Iterator[str]:
    """Run the MongoDB wire server over SQLite; yields its URL.

    In the same folder and on the same port, it is the same server again.
    """
    port = port or free_port()
    url = f"mongodb://127.0.0.1:{port}"
    argv = [
        _script("nx-27017"), "--host", "127.0.0.1", "--port", port, "--db", folder / "test.db",
        "--log-file", "/dev/null", "--pid-file", folder / "pid",
    ]  # fmt: skip

    def ping() -> None:
        with pymongo.MongoClient(url, serverSelectionTimeoutMS=500) as client:
            client.admin.command("ping")

    with _running(argv, ping, folder / "log"):
        yield url


@contextmanager
def embedded_redis(folder: Path) -> Iterator[dict[str, Any]]:
    """Run a Redis that wants a password; yields its settings."""
    port, config = free_port(), folder / "redis.conf"
    config.write_text(
        f'bind 127.0.0.1\nport {port}\nrequirepass "{REDIS_PASSWORD}"\ndir "{folder}"\nsave ""\n'
    )

    def ping() -> None:
        with redis.Redis(port=port, password=REDIS_PASSWORD) as client:
            client.ping()

    with _running([_script("redis-server"), config], ping, folder / "log"):
        yield {"redis_port": port, "redis_password": REDIS_PASSWORD}


@contextmanager
def embedded_s3(folder: Path) -> Iterator[S3Server]:
    """Run an S3 server in memory that checks signatures."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    argv = [_script("moto_server"), "-H", "127.0.0.1", "-p", port]
    # The three calls that make the login are the last ones that need none.
    environment = {"INITIAL_NO_AUTH_ACTION_COUNT": "3"}

    def ping() -> None:
        urllib.request.urlopen(f"{url}/moto-api/", timeout=5).close()

    with _running(argv, ping, folder / "log", environment):
        yield S3Server(f"127.0.0.1:{port}", *_make_login(url))


def _make_login(url: str) -> tuple[str, str]:
    """Return the keys of a new user who may do everything."""
    iam = boto3.client(
        "iam",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="unchecked",
        aws_secret_access_key="unchecked",
    )
    everything = {"Effect": "Allow", "Action": "*", "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [everything]})
    iam.create_user(UserName="contract")
    iam.put_user_policy(UserName="contract", PolicyName="everything", PolicyDocument=policy)
    keys = iam.create_access_key(UserName="contract")["AccessKey"]
    return keys["AccessKeyId"], keys["SecretAccessKey"]


@contextmanager
def _running(
    argv: list[Any],
    ping: Callable[[], object],
    log: Path,
    environment: dict[str, str] | None = None,
) -> Iterator[None]:
    """Run a server until the block ends; it dies with this process in any case."""
    wrapped = [sys.executable, PROJECT_ROOT / "internal" / "stack" / "child.py", *argv]
    with log.open("wb") as out:
        process = subprocess.Popen(
            [str(part) for part in wrapped],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env=os.environ | (environment or {}),
        )
    try:
        _wait_until_ready(process, ping, log)
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_ready(process: subprocess.Popen, ping: Callable[[], object], log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            ping()
        except Exception as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the server did not come up:\n{log.read_text()}") from error
            time.sleep(0.05)
        else:
            return


def _script(name: str) -> Path:
    """Return a program that a wheel put beside this Python."""
    path = Path(sysconfig.get_path("scripts")) / name
    if not path.exists():
        raise RuntimeError(f"{name} is not installed beside this Python; run `make setup`")
    return path


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
