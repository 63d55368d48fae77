"""A client of our own REST API, for the commands that upload and wait."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from core.errors import AppError, PermanentError, TransientError

_POLL_SECONDS = 0.25
_SLOWEST_POLL_SECONDS = 2.0

OnStatus = Callable[[dict[str, Any]], None]


class ApiClient:
    """Talks to one server. Close it, or use it with `with`."""

    def __init__(self, url: str) -> None:
        # Uploads take as long as they take; a server that says nothing for a minute is away.
        self._http = httpx.Client(base_url=url, timeout=httpx.Timeout(60, write=600))
        self._url = url

    def __enter__(self) -> ApiClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def upload(self, path: Path, options: dict[str, str]) -> dict[str, Any]:
        """Upload a file, streamed, and return the new task.

        Raises:
            PermanentError: The server refuses it; the message says why.
            TransientError: The server cannot be reached, or is not ready.
        """
        with path.open("rb") as file:
            return self._json(
                "POST",
                "/api/v1/tasks/upload",
                data=options,
                files={"file": (path.name, file, "application/octet-stream")},
            )

    def wait(self, task_id: str, on_status: OnStatus | None = None) -> dict[str, Any]:
        """Poll a task until it ends, and return it.

        Raises:
            PermanentError: It failed or was deleted.
        """
        pause = _POLL_SECONDS
        while True:
            task = self._json("GET", f"/api/v1/tasks/{task_id}")
            if on_status is not None:
                on_status(task)
            if task["status"] == "completed":
                return task
            if task["status"] in ("failed", "cancelled"):
                reason = (task.get("error") or {}).get("message", f"It was {task['status']}.")
                raise PermanentError(reason, code="task_failed")
            time.sleep(pause)
            pause = min(pause * 1.1, _SLOWEST_POLL_SECONDS)

    def result(self, task_id: str, output_format: str) -> str:
        """Return a transcript's text in one of the formats."""
        return self._request(
            "GET", f"/api/v1/tasks/{task_id}/result", params={"format": output_format}
        ).text

    def delete(self, task_id: str) -> None:
        """Remove a task and everything stored for it."""
        self._request("DELETE", f"/api/v1/tasks/{task_id}")

    def _json(self, method: str, path: str, **arguments: Any) -> dict[str, Any]:
        values: dict[str, Any] = self._request(method, path, **arguments).json()
        return values

    def _request(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        try:
            response = self._http.request(method, path, **arguments)
        except httpx.HTTPError as error:
            raise TransientError(
                f"No server answers at {self._url} ({type(error).__name__}). "
                "Start one with `python main.py up`, or name another with --url.",
                code="server_unreachable",
            ) from error
        if response.is_error:
            raise _refusal(response)
        return response


def _refusal(response: httpx.Response) -> AppError:
    try:
        body = response.json()
        code, message = str(body["code"]), str(body["message"])
    except (ValueError, KeyError, TypeError):
        code, message = "http_error", f"The server answered {response.status_code}."
    kind = TransientError if response.status_code == httpx.codes.SERVICE_UNAVAILABLE else (
        PermanentError
    )  # fmt: skip
    return kind(message, code=code)
