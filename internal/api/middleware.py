"""Around every request: an id, a log line, and a limit on the body that counts while it arrives."""

from __future__ import annotations

import re
import time
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.logger import bound, logger
from internal.api.headers import harden

REQUEST_ID_HEADER = "X-Request-ID"
# The task behind an answer that is not about a task: its transcript stays, and can be asked for.
TASK_ID_HEADER = "X-Task-Id"
_CLIENT_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
# Boundaries, part headers and the text fields of an upload, beside the file itself.
_FORM_ALLOWANCE_BYTES = 64 * 1024
_QUIET_PATHS = ("/health/",)


class RequestLogMiddleware:
    """Gives each request an id (the client's own, where it is plain), and logs its answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        sent = Headers(scope=scope).get(REQUEST_ID_HEADER, "")
        request_id = sent if _CLIENT_REQUEST_ID.fullmatch(sent) else uuid.uuid4().hex[:16]
        scope.setdefault("state", {})["request_id"] = request_id
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers[REQUEST_ID_HEADER] = request_id
                if task_id := scope["state"].get("task_id"):
                    headers[TASK_ID_HEADER] = task_id
                harden(headers)
            await send(message)

        started = time.perf_counter()
        with bound(request_id=request_id):
            try:
                await self._app(scope, receive, send_with_id)
            finally:
                duration_ms = round((time.perf_counter() - started) * 1000, 1)
                quiet = scope["path"].startswith(_QUIET_PATHS)
                key_id = scope["state"].get("key_id")
                logger.bind(**{"key": key_id} if key_id else {}).log(
                    "DEBUG" if quiet else "INFO",
                    "{} {} -> {} in {} ms",
                    scope["method"],
                    scope["path"],
                    status,
                    duration_ms,
                )


class BodyLimitMiddleware:
    """Refuses a body that is too large: by its declared length, or as soon as it has grown so."""

    def __init__(self, app: ASGIApp, max_file_bytes: int) -> None:
        self._app = app
        self._max_file_bytes = max_file_bytes
        self._max_body_bytes = max_file_bytes + _FORM_ALLOWANCE_BYTES

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = Headers(scope=scope).get("content-length", "")
        too_large = declared.isdigit() and int(declared) > self._max_body_bytes
        received = 0

        async def counted() -> Message:
            nonlocal received
            if too_large:
                raise self._refusal()
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._max_body_bytes:
                raise self._refusal()
            return message

        await self._app(scope, counted, send)

    def _refusal(self) -> HTTPException:
        # An HTTPException is what FastAPI's form parsing lets through unchanged.
        megabytes = self._max_file_bytes / 1024 / 1024
        return HTTPException(
            413,
            f"The file is larger than {megabytes:g} MiB, the most accepted here. Compress it "
            "(an hour of speech is 30 MB as mp3) or split it.",
            headers={"Connection": "close"},
        )
