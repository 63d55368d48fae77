"""A server of somebody else's: it receives webhooks, and answers as it is told."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar


@dataclass(frozen=True)
class Received:
    path: str
    headers: dict[str, str]  # names in lower case
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]


@dataclass
class Receiver:
    """What a receiver has got, and what it answers to every request."""

    url: str
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    received: list[Received] = field(default_factory=list)
    # While it is not set, requests are received and not answered.
    answers: threading.Event = field(default_factory=threading.Event)

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2].partition("/")[0])

    def wait_for(self, count: int, seconds: float = 30) -> list[Received]:
        """Wait until there are so many requests; they are all returned."""
        deadline = time.monotonic() + seconds
        while len(self.received) < count:
            assert time.monotonic() < deadline, f"{len(self.received)} of {count} came"
            time.sleep(0.02)
        return list(self.received)


@contextmanager
def receiver(host: str = "127.0.0.1", certificate: Path | None = None) -> Iterator[Receiver]:
    """Run one; with a certificate (and its key, in one file), by TLS."""

    class Handler(BaseHTTPRequestHandler):
        told: ClassVar[Receiver]

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            self.told.received.append(Received(self.path, headers, body))
            self.told.answers.wait()
            self.send_response(self.told.status)
            for name, value in self.told.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_GET(self) -> None:
            self.headers["Content-Length"] = "0"
            self.do_POST()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer((host, 0), Handler)
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    Handler.told = Receiver(f"http://{host}:{server.server_port}/hook")
    Handler.told.answers.set()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield Handler.told
    finally:
        Handler.told.answers.set()
        server.shutdown()
        server.server_close()
        thread.join()
