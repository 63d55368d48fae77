"""A TCP proxy that can be told to misbehave."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_BLOCK = 16 * 1024
# With these, closing resets the connection instead of ending it.
_RESET = struct.pack("ii", 1, 0)


class Proxy:
    """Passes connections on to a server, as well as `mode` lets it.

    Modes: `open`; `slow` (a pause before each block); `cut` (a reset in the middle of anything
    larger than headers); `away` (a reset at once).
    """

    def __init__(self, target: str) -> None:
        host, _, port = target.partition(":")
        self._target = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.mode = "open"
        self.cuts = 0
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    @contextmanager
    def behaving(self, mode: str) -> Iterator[None]:
        self.mode = mode
        try:
            yield
        finally:
            self.mode = "open"

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        if self.mode == "away":
            _reset(client)
            return
        with suppress(OSError):
            server = socket.create_connection(self._target)
            for source, target in ((client, server), (server, client)):
                threading.Thread(target=self._pump, args=(source, target), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        passed = 0
        with suppress(OSError):
            while block := source.recv(_BLOCK):
                passed += len(block)
                if self.mode == "slow":
                    time.sleep(0.01)
                if self.mode == "away" or (self.mode == "cut" and passed > 2 * _BLOCK):
                    self.cuts += 1
                    _reset(source)
                    _reset(target)
                    return
                target.sendall(block)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
                end.close()


def _reset(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        # A thread may be reading from it, which would keep it open.
        connection.shutdown(socket.SHUT_RD)
        connection.close()
