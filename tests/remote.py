"""Somebody else's web server, which behaves as a test wants it to."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Behaviour = Callable[["Request"], None]


class Request(BaseHTTPRequestHandler):
    """A GET, to be answered by the behaviour of its path."""

    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        remote = self.server.remote
        path = self.path.partition("?")[0]
        remote.requests.append((path, dict(self.headers)))
        try:
            remote.behaviours[path](self)
        except OSError:  # who asked is gone
            remote.broken.append(path)
            self.close_connection = True

    @property
    def first_byte(self) -> int:
        """Where the range that was asked for begins; 0 if none was."""
        return int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))

    def answer(self, content: bytes, *, status: int = 200, sent: int | None = None, **more: str):
        """Answer with a body, of which no more than `sent` bytes are sent before it breaks off."""
        self.send_response(status)
        headers = {"Content-Length": str(len(content))}
        headers |= {name.replace("_", "-"): value for name, value in more.items()}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content[:sent])
        self.close_connection = sent is not None

    def log_message(self, *_: object) -> None:
        pass


@dataclass
class Remote:
    """The server: what it was asked, and whose connections broke while it answered."""

    url: str = ""
    behaviours: dict[str, Behaviour] = field(default_factory=dict)
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    def serve(self, path: str, behaviour: Behaviour) -> str:
        """Have a path answered like this; returns its address."""
        self.behaviours[path] = behaviour
        return self.url + path

    def asked(self, path: str) -> list[dict[str, str]]:
        """The headers of the requests for a path, in their order."""
        return [headers for asked, headers in self.requests if asked == path]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    remote: Remote


@contextmanager
def a_remote(host: str = "127.0.0.1") -> Iterator[Remote]:
    """Run a server on a free port."""
    with _Server((host, 0), Request) as http:
        http.remote = Remote(f"http://{host}:{http.server_port}")
        threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
        yield http.remote
        http.shutdown()


def plainly(content: bytes, **headers: str) -> Behaviour:
    """Answer with all of it."""
    return lambda request: request.answer(content, **headers)


def refusing(status: int, **headers: str) -> Behaviour:
    return lambda request: request.answer(b"no", status=status, **headers)


def redirecting(to: str, status: int = 302) -> Behaviour:
    return lambda request: request.answer(b"", status=status, Location=to)


def in_parts(content: bytes, part: int, etag: str = '"1"') -> Behaviour:
    """Break off after so many bytes, again and again; ranges are served."""

    def behave(request: Request) -> None:
        start = request.first_byte
        left, whole = content[start:], len(content)
        sent = part if len(left) > part else None
        if not start:
            request.answer(content, sent=sent, ETag=etag)
            return
        span = f"bytes {start}-{whole - 1}/{whole}"
        request.answer(left, status=206, sent=sent, ETag=etag, Content_Range=span)

    return behave


def broken_once(content: bytes, part: int, then: Behaviour | None = None, **headers: str):
    """Break off after so many bytes the first time, and answer anew afterwards."""
    seen: list[Request] = []

    def behave(request: Request) -> None:
        seen.append(request)
        if len(seen) == 1:
            request.answer(content, sent=part, **headers)
        else:
            (then or plainly(content))(request)

    return behave


def unending(block: bytes, go_on: threading.Event, **headers: str) -> Behaviour:
    """Send a block now and then, without saying how many, until told to stop."""

    def behave(request: Request) -> None:
        request.send_response(200)
        request.send_header("Transfer-Encoding", "chunked")
        for name, value in headers.items():
            request.send_header(name, value)
        request.end_headers()
        while not go_on.wait(0.02):
            request.wfile.write(b"%x\r\n%b\r\n" % (len(block), block))
        request.wfile.write(b"0\r\n\r\n")

    return behave
