"""Errors as JSON: the only place where ours get HTTP statuses."""

from __future__ import annotations

import errno
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

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
_STATUS_BY_CODE = {"unsupported_media": 415, "no_audio": 415, "audio_too_long": 413}

_CODE_BY_STATUS = {
    400: "bad_request",
    404: "route_not_found",
    405: "method_not_allowed",
    413: "file_too_large",
    416: "range_not_satisfiable",
}


def error_body(code: str, message: str, details: dict[str, Any], request: Request) -> Any:
    """Return the JSON shape of every error."""
    return {
        "code": code,
        "message": message,
        "details": details,
        "request_id": getattr(request.state, "request_id", ""),
    }


def install_error_handlers(app: FastAPI) -> None:
    """Answer every failure in our shape, without paths or traces."""
    app.add_exception_handler(AppError, _on_app_error)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(Exception, _on_unexpected)


async def _on_app_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, AppError)
    by_class = next(status for cls, status in _STATUS_BY_CLASS if isinstance(error, cls))
    status = _STATUS_BY_CODE.get(error.error_code, by_class)
    after = _RETRY_AFTER_BY_CODE.get(error.error_code)
    if after is None and error.retryable:
        after = _RETRY_AFTER_SECONDS
    headers = None if after is None else {"Retry-After": str(after)}
    body = error_body(error.error_code, error.message, error.details, request)
    return JSONResponse(body, status, headers=headers)


async def _on_invalid_request(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    problems = [
        {"field": ".".join(str(part) for part in found["loc"][1:]), "problem": found["msg"]}
        for found in error.errors()
    ]
    code, message = _describe(error.errors())
    return JSONResponse(error_body(code, message, {"problems": problems}, request), 422)


def _describe(errors: Any) -> tuple[str, str]:
    """Return a code and a sentence for the first thing wrong with a request."""
    first = errors[0]
    if first["type"] == "json_invalid":
        return "invalid_json", f"The body is not valid JSON: {first['ctx']['error']}."
    field = str([part for part in first["loc"] if part != "[key]"][-1])
    if field == "file":
        return "missing_file", "No recording came with the request. Send one as the field `file`."
    if first["type"] == "extra_forbidden":
        return "unknown_option", f"There is no option `{field}`. See /docs for those there are."
    return "invalid_option", f"The option `{field}` cannot be used: {first['msg']}."


async def _on_http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    cause = error.__cause__ or error.__context__
    if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
        # The framework calls it a bad request: the body could not be received.
        return await _on_app_error(request, _disk_full())
    code = _CODE_BY_STATUS.get(error.status_code, "http_error")
    body = error_body(code, _sentence(request, error), {}, request)
    return JSONResponse(body, error.status_code, headers=error.headers)


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
    return JSONResponse(error_body("internal_error", message, {}, request), 500)
