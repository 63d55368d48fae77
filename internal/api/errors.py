"""Errors as JSON: the only place where ours get HTTP statuses."""

from __future__ import annotations

import errno
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import compile_path

from core.errors import (
    AppError,
    Conflict,
    Forbidden,
    InvalidInput,
    Misconfigured,
    NotFound,
    StorageUnavailable,
    TooManyTasks,
    TransientError,
    Unauthenticated,
)
from core.logger import logger
from internal.api.error_shapes import Failure, answer
from internal.api.headers import harden
from internal.api.middleware import REQUEST_ID_HEADER

_RETRY_AFTER_SECONDS = 5
# Where it is known better: another request is about to end, or recordings have to be done first.
_RETRY_AFTER_BY_CODE = {"idempotency_key_in_use": 1, "too_many_tasks": 30, "server_busy": 60}

# Most specific first. Input that names the wrong thing is 422; what is not audio at all is 415.
_STATUS_BY_CLASS: list[tuple[type[AppError], int]] = [
    (Unauthenticated, 401),
    (Forbidden, 403),
    (NotFound, 404),
    (Conflict, 409),
    (InvalidInput, 422),
    (Misconfigured, 503),
    (TooManyTasks, 429),
    (TransientError, 503),
    (AppError, 500),
]
_STATUS_BY_CODE = {
    "unsupported_media": 415,
    "no_audio": 415,
    "audio_too_long": 413,
    "file_too_large": 413,
}

# The fields that recordings come in.
_RECORDINGS = ("file", "audio_file")

_CODE_BY_STATUS = {
    400: "bad_request",
    404: "route_not_found",
    405: "method_not_allowed",
    413: "file_too_large",
    416: "range_not_satisfiable",
}


def install_error_handlers(app: FastAPI) -> None:
    """Answer every failure in the shape that its client knows, without paths or traces."""
    app.add_exception_handler(AppError, answer_error)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(Exception, _on_unexpected)


async def answer_error(request: Request, error: Exception) -> JSONResponse:
    """Return the answer to a request that failed with an `AppError`."""
    assert isinstance(error, AppError)
    status = _status_of(error)
    after = error.details.get("retry_after", _RETRY_AFTER_BY_CODE.get(error.error_code))
    if after is None and error.retryable:
        after = _RETRY_AFTER_SECONDS
    headers = {} if after is None else {"Retry-After": str(after)}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return answer(request, describe_error(error), headers)


def describe_error(error: AppError) -> Failure:
    """Return what a client is told of an error."""
    status = _status_of(error)
    return Failure(status, error.error_code, error.message, error.details, error.retryable)


def _status_of(error: AppError) -> int:
    by_class = next(status for cls, status in _STATUS_BY_CLASS if isinstance(error, cls))
    return _STATUS_BY_CODE.get(error.error_code, by_class)


async def _on_invalid_request(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    problems = [
        {"field": ".".join(str(part) for part in found["loc"][1:]), "problem": found["msg"]}
        for found in error.errors()
    ]
    code, message = _describe(error.errors())
    return answer(request, Failure(422, code, message, {"problems": problems}), None)


def _describe(errors: Any) -> tuple[str, str]:
    """Return a code and a sentence for the first thing wrong with a request."""
    first = errors[0]
    if first["type"] == "json_invalid":
        return "invalid_json", f"The body is not valid JSON: {first['ctx']['error']}."
    # Of a list, the field: neither which of its items nor that it is a mapping's key.
    field = [part for part in first["loc"] if isinstance(part, str) and part != "[key]"][-1]
    if field in _RECORDINGS:
        return (
            "missing_file",
            f"No recording came with the request. Send one as the field `{field}`.",
        )
    if first["type"] == "extra_forbidden":
        return "unknown_option", f"There is no option `{field}`. See /docs for those there are."
    return "invalid_option", f"The option `{field}` cannot be used: {first['msg']}."


async def _on_http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    cause = error.__cause__ or error.__context__
    if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
        # The framework calls it a bad request: the body could not be received.
        return await answer_error(request, _disk_full())
    code = _CODE_BY_STATUS.get(error.status_code, "http_error")
    failure = Failure(error.status_code, code, _sentence(request, error))
    headers = dict(error.headers or {})
    if error.status_code == 405 and (methods := _methods_at(request)):
        headers["Allow"] = methods
    return answer(request, failure, headers)


def _methods_at(request: Request) -> str:
    """Return which methods there are at a path: the framework names those of one route alone."""
    paths = request.app.openapi()["paths"]
    matching = [path for path in paths if compile_path(path)[0].fullmatch(request.url.path)]
    if not matching:
        return ""
    return ", ".join(name.upper() for name in paths[min(matching, key=lambda p: p.count("{"))])


def _disk_full() -> StorageUnavailable:
    return StorageUnavailable("The server has no room for the upload.", code="disk_full")


def _sentence(request: Request, error: HTTPException) -> str:
    """Return what to tell a person: the framework's own errors are two words long."""
    path = request.url.path
    match error.status_code:
        case 400:
            return f"The body could not be read ({error.detail}). Send multipart/form-data."
        case 404:
            return f"There is nothing at {path}. See /docs for what there is."
        case 405:
            return f"{request.method} is not possible at {path}. See /docs for what is."
        case _:
            return str(error.detail)


async def _on_unexpected(request: Request, error: Exception) -> JSONResponse:
    logger.opt(exception=error).error("unexpected error")
    message = "The server failed on this request. Its log names the cause under the request id."
    response = answer(request, Failure(500, "internal_error", message), None)
    # It is made outside of all middlewares.
    response.headers[REQUEST_ID_HEADER] = getattr(request.state, "request_id", "")
    harden(response.headers)
    return response
