"""What errors look like: ours, and those of the servers whose clients come here as well.

A client that was written for another server reads that server's errors. Whose it is shows in the
path that it asks for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse

# Codes of errors that the recording is the cause of, whatever the field is called that it came in.
ABOUT_THE_RECORDING = frozenset(
    {
        "missing_file",
        "file_too_large",
        "empty_file",
        "unsupported_media",
        "no_audio",
        "invalid_audio",
        "truncated_audio",
        "audio_too_long",
    }
)
_PARAMETERS = {
    "unknown_language": "language",
    "unsupported_language": "language",
    "invalid_known_speakers": "known_speaker_names",
    "invalid_known_speaker_clip": "known_speaker_references",
}


@dataclass(frozen=True)
class Failure:
    """Why a request failed.

    Attributes:
        status: Of HTTP, in our own API.
        code: For programs.
        message: For people.
        details: Further facts; of an invalid request `problems`, a list with `field` and `problem`.
        may_retry: Whether the same request may succeed later; None where nobody knows.
    """

    status: int
    code: str
    message: str
    details: Mapping[str, Any] = field(default_factory=dict)
    may_retry: bool | None = None


@dataclass(frozen=True)
class _Shape:
    """How a kind of server tells of failures.

    Attributes:
        body: Makes the JSON values.
        statuses: Its own statuses, where they differ from ours.
        headers: Makes headers that its clients go by.
    """

    body: Callable[[Failure, Request], Any]
    statuses: Mapping[int, int] = field(default_factory=dict)
    headers: Callable[[Failure], dict[str, str]] = lambda _failure: {}


def answer(request: Request, failure: Failure, headers: Mapping[str, str] | None) -> JSONResponse:
    """Return the answer to a request that failed, as its client expects it."""
    shape = _shape_for(request.url.path)
    status = shown_status(request.url.path, failure.status)
    all_headers = {**(headers or {}), **shape.headers(failure)}
    return JSONResponse(shape.body(failure, request), status, headers=all_headers)


def shown_status(path: str, status: int) -> int:
    """Return what takes the place of one of our statuses at a path."""
    return _shape_for(path).statuses.get(status, status)


def openai_error(failure: Failure) -> dict[str, Any]:
    """Return the body of an error of OpenAI's API."""
    if failure.status >= 500:
        kind = "server_error"
    else:
        kind = "rate_limit_error" if failure.status == 429 else "invalid_request_error"
    values = {
        "message": failure.message,
        "type": kind,
        "param": _parameter(failure),
        "code": failure.code,
    }
    return {"error": values}


def _shape_for(path: str) -> _Shape:
    for start, shape in _DIALECTS.items():
        if path == start or path.startswith(f"{start}/"):
            return shape
    return _OURS


def _our_error(failure: Failure, request: Request) -> dict[str, Any]:
    return {
        "code": failure.code,
        "message": failure.message,
        "details": failure.details,
        "request_id": getattr(request.state, "request_id", ""),
    }


def _parameter(failure: Failure) -> str | None:
    """Return which field of the form an error is about."""
    if failure.code in ABOUT_THE_RECORDING:
        return "file"
    if problems := failure.details.get("problems"):
        return str(problems[0]["field"]).partition(".")[0]
    named: str | None = failure.details.get("param")
    return named or _PARAMETERS.get(failure.code)


def _openai_headers(failure: Failure) -> dict[str, str]:
    # OpenAI's clients send a request twice more after these, the recording included.
    again = failure.status == 409 or failure.status >= 500
    return {"X-Should-Retry": "false"} if again and failure.may_retry is False else {}


_OURS = _Shape(_our_error)
_DIALECTS = {
    "/v1": _Shape(lambda failure, _: openai_error(failure), {422: 400}, _openai_headers),
    "/asr": _Shape(lambda failure, _: {"detail": failure.message}),
    "/detect-language": _Shape(lambda failure, _: {"detail": failure.message}),
    "/inference": _Shape(lambda failure, _: {"error": failure.message}, {422: 400}),
}
