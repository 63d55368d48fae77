"""Requests at a given rate, whatever the answers do, and how long each took from its due time.

A client that waits for one answer before it sends the next request asks less often where the server
is slow, and so never sees what its users would (coordinated omission). Here each request has a time
at which it is due, and its latency is counted from then. Requests come at random moments, as from
many clients that know nothing of each other.
"""

from __future__ import annotations

import asyncio
import gc
import random
import statistics
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

# More requests than this under way at once, and the server is not keeping up in any sense.
_MOST_CONNECTIONS = 500
_LAST_ANSWERS_SECONDS = 30.0


@dataclass(frozen=True)
class Request:
    """What is asked for, by GET."""

    path: str
    headers: dict[str, str]


@dataclass(frozen=True)
class Measured:
    """How a load went; seconds, one entry for each request, in the order of their answers.

    Attributes:
        asked_rate: Requests due per second.
        took: From the due time to the last byte of the answer.
        late: From the due time to when it was sent: the generator's own share.
        seconds: From the first due time to the last answer.
        failed: Requests with no answer, or one that is not 200.
    """

    asked_rate: float
    took: list[float]
    late: list[float]
    seconds: float
    failed: int

    def row(self) -> str:
        """A row of the table under `HEADER`."""
        cuts = statistics.quantiles(self.took, n=100)
        late = statistics.quantiles(self.late, n=100)[98]
        times = (cuts[49], cuts[94], cuts[98], max(self.took), late)
        shown = " | ".join(f"{seconds * 1000:.1f}" for seconds in times)
        achieved = len(self.took) / self.seconds
        return f"| {self.asked_rate:g} | {achieved:.1f} | {shown} | {self.failed} |"


HEADER = (
    "| Asked /s | Answered /s | p50 ms | p95 ms | p99 ms | max ms | sent late, p99 ms | failed |\n"
    "|---|---|---|---|---|---|---|---|"
)


def drive(url: str, requests: Sequence[Request], rate: float, seconds: float) -> Measured:
    """Send requests and measure; run it in a process of its own.

    Args:
        url: Server, of http.
        requests: One of them is sent each time, at random.
        rate: Requests a second, on average.
        seconds: How long.
    """
    gc.disable()  # its pauses would count as the server's
    return asyncio.run(_Load(url, requests).run(rate, seconds))


def _encode(request: Request, host: str) -> bytes:
    fields = {"Host": host, "Accept": "application/json", **request.headers}
    lines = [f"GET {request.path} HTTP/1.1", *(f"{name}: {v}" for name, v in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode()


class _Load:
    def __init__(self, url: str, requests: Sequence[Request]) -> None:
        address = urlsplit(url)
        self._host, self._port = address.hostname or "127.0.0.1", address.port or 80
        self._requests = [_encode(request, address.netloc) for request in requests]
        self._idle: list[_Connection] = []
        self._open = 0
        self._waiting: deque[tuple[bytes, float]] = deque()
        self.took: list[float] = []
        self.late: list[float] = []
        self.failed = 0

    async def run(self, rate: float, seconds: float) -> Measured:
        chosen = random.Random(1)  # the same moments each time
        loop = asyncio.get_running_loop()
        begun = due = time.perf_counter()
        opening: set[asyncio.Task[None]] = set()
        while (due := due + chosen.expovariate(rate)) < begun + seconds:
            await asyncio.sleep(due - time.perf_counter())
            self._waiting.append((chosen.choice(self._requests), due))
            self.send_waiting()
            if self._waiting and self._open < _MOST_CONNECTIONS:
                self._open += 1
                task = loop.create_task(self._connect())
                opening.add(task)
                task.add_done_callback(opening.discard)
        await self._finish()
        last = time.perf_counter()
        return Measured(rate, self.took, self.late, last - begun, self.failed)

    def send_waiting(self) -> None:
        while self._waiting and self._idle:
            self._idle.pop().send(*self._waiting.popleft())

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.create_connection(
                lambda: _Connection(self), self._host, self._port
            )
        except OSError:
            self._open -= 1
            return
        self.free(connection)

    def free(self, connection: _Connection) -> None:
        self._idle.append(connection)
        self.send_waiting()

    def lost(self, connection: _Connection) -> None:
        self._open -= 1
        if connection in self._idle:
            self._idle.remove(connection)

    async def _finish(self) -> None:
        """Wait for the answers that are under way."""
        deadline = time.perf_counter() + _LAST_ANSWERS_SECONDS
        while self._waiting or len(self._idle) < self._open:
            if time.perf_counter() > deadline:
                self.failed += len(self._waiting) + self._open - len(self._idle)
                return
            await asyncio.sleep(0.001)


class _Connection(asyncio.Protocol):
    """One connection that is kept; it carries one request at a time."""

    def __init__(self, load: _Load) -> None:
        self._load = load
        self._due: float | None = None
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def send(self, request: bytes, due: float) -> None:
        self._due, self._received = due, b""
        self._load.late.append(time.perf_counter() - due)
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        if not found or self._due is None:
            return
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        if len(body) < length:
            return
        self._load.took.append(time.perf_counter() - self._due)
        self._load.failed += not head.startswith(b"HTTP/1.1 200 ")
        self._due = None
        self._load.free(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._due is not None:
            self._load.failed += 1
        self._load.lost(self)
