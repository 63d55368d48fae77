"""The process that holds the diarization model: `python -m worker.diarizer_server`.

It reads its options as one line of JSON from stdin and then serves one request after the other on
the listening socket that it inherited:

    request   {"wav": path, "out": path, "hints": {...}, "known": {...} or null}
              or {"ping": true}
    replies   {"progress": 0.42} …, then {"done": true} or {"error": {code, message, retryable}}

The turns go into the file `out`. The model is loaded at the first request, so that whoever asked
is told if it cannot be; a client that hangs up ends its request at the next progress report.
"""

from __future__ import annotations

import json
import socket
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from core.errors import AppError
from core.logger import configure_logging, logger
from worker.diarizer import Diarizer, DiarizerOptions, PyannoteDiarizer, SpeakerHints
from worker.known_voices import KnownVoices
from worker.process import die_with_parent


def main() -> None:
    """Serve until the parent ends us, or dies."""
    die_with_parent()
    start: dict[str, Any] = json.loads(sys.stdin.readline())
    log_format: Literal["text", "json"] = start["log_format"]
    configure_logging(start["log_level"], log_format, process="diarizer")
    listener = socket.socket(fileno=start["socket"])
    serve(listener, DiarizerOptions(**start["options"]))


def serve(listener: socket.socket, options: DiarizerOptions) -> None:
    """Answer requests for ever, one at a time."""
    diarizer: Diarizer | None = None
    while True:
        connection, _ = listener.accept()
        with connection, connection.makefile("rb") as stream:
            try:
                request: dict[str, Any] = json.loads(stream.readline() or b"{}")
                if "wav" not in request:
                    _reply(connection, {"pong": True})
                    continue
                diarizer = diarizer or PyannoteDiarizer(options)
                _diarize(diarizer, request, connection)
            except AppError as error:
                _report(connection, error.error_code, error.message, retryable=error.retryable)
            except OSError as error:
                logger.warning("a request was given up: {}", error)
            except Exception as error:  # noqa: BLE001 - whatever it is, the client must hear of it
                logger.opt(exception=True).error("a request failed")
                message = f"The diarizer failed unexpectedly ({type(error).__name__})."
                _report(connection, "diarization_failed", message, retryable=True)


def _diarize(diarizer: Diarizer, request: dict[str, Any], connection: socket.socket) -> None:
    def on_progress(share: float) -> None:
        _reply(connection, {"progress": round(share, 4)})

    hints = SpeakerHints(**request["hints"])
    known = KnownVoices.from_dict(request["known"]) if request["known"] else None
    found = diarizer.diarize(Path(request["wav"]), hints, on_progress, known)
    Path(request["out"]).write_text(json.dumps(asdict(found)), encoding="utf-8")
    _reply(connection, {"done": True})


def _reply(connection: socket.socket, values: dict[str, Any]) -> None:
    connection.sendall(json.dumps(values).encode() + b"\n")


def _report(connection: socket.socket, code: str, message: str, *, retryable: bool) -> None:
    try:
        _reply(connection, {"error": {"code": code, "message": message, "retryable": retryable}})
    except OSError as error:
        logger.warning("nobody waits for the error any more: {}", error)


if __name__ == "__main__":
    main()
