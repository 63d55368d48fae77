"""A client of our own REST API, for the commands that upload and wait."""

from __future__ import annotations

import base64
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
from pydantic import SecretStr

from core.errors import AppError, PermanentError, TransientError

_TASKS = "/api/v1/tasks"
_SEARCH = "/api/v1/search"
_MOST_HITS_AT_ONCE = 100
_POLL_SECONDS = 0.25
_SLOWEST_POLL_SECONDS = 2.0
# Between the attempts at one request, where the server does not say itself how long to wait.
_PAUSES_SECONDS = (1.0, 2.0, 5.0, 10.0, 20.0)
_GATEWAY_ERRORS = (502, 503, 504)

_ANY_TYPE = "application/octet-stream"

KnownSpeakers = Sequence[tuple[str, Path]]
OnStatus = Callable[[dict[str, Any]], None]
OnWait = Callable[[str], None]


class ApiClient:
    """Talks to one server. Close it, or use it with `with`.

    While a server that has answered before is away, and while one has no room, every request is
    repeated for a while: `on_wait` is told what for.
    """

    def __init__(
        self, url: str, on_wait: OnWait | None = None, *, api_key: SecretStr | None = None
    ) -> None:
        self._http = httpx.Client(
            base_url=url,
            headers={"Authorization": f"Bearer {api_key.get_secret_value()}"} if api_key else {},
            # Uploads take as long as they take; a server that says nothing for a minute is away.
            timeout=httpx.Timeout(60, write=600),
        )
        self._url = url
        self.sends_key = api_key is not None
        self._on_wait = on_wait
        self._was_there = False

    def __enter__(self) -> ApiClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def upload(
        self, path: Path, options: dict[str, str], known_speakers: KnownSpeakers = ()
    ) -> dict[str, Any]:
        """Upload a file, streamed, and return its task: one, however often it has to be sent.

        Args:
            path: The recording.
            options: Further fields of the form.
            known_speakers: Names, with clips of their voices.

        Raises:
            PermanentError: The server refuses it; the message says why.
            TransientError: The server cannot be reached, or is not ready.
        """
        sent = [("file", path), *(("known_speaker_clips", clip) for _, clip in known_speakers)]
        with ExitStack() as files:
            return self._json(
                "POST",
                f"{_TASKS}/upload",
                data=options | {"known_speaker_names": [name for name, _ in known_speakers]},
                files=[
                    (field, (own.name, files.enter_context(own.open("rb")), _ANY_TYPE))
                    for field, own in sent
                ],
                headers={"Idempotency-Key": uuid.uuid4().hex},
            )

    def from_url(
        self, url: str, options: dict[str, str], known_speakers: KnownSpeakers = ()
    ) -> dict[str, Any]:
        """Have the server download a recording, and return its task.

        Args:
            url: Of the recording.
            options: Further fields of the request.
            known_speakers: Names, with clips of their voices.

        Raises:
            PermanentError: The server refuses it; the message says why.
            TransientError: The server cannot be reached, or is not ready.
        """
        voices = {
            "known_speaker_names": [name for name, _ in known_speakers],
            "known_speaker_clips": [
                base64.b64encode(clip.read_bytes()).decode() for _, clip in known_speakers
            ],
        }
        return self._json(
            "POST",
            f"{_TASKS}/from-url",
            json={"url": url, **options, **voices},
            headers={"Idempotency-Key": uuid.uuid4().hex},
        )

    def wait(self, task_id: str, on_status: OnStatus | None = None) -> dict[str, Any]:
        """Poll a task until it ends, and return it.

        Raises:
            PermanentError: It failed or was deleted.
            TransientError: The server has gone.
        """
        pause = _POLL_SECONDS
        while True:
            task = self._json("GET", f"{_TASKS}/{task_id}")
            if on_status is not None:
                on_status(task)
            if task["status"] == "completed":
                return task
            if task["status"] in ("failed", "cancelled"):
                reason = (task.get("error") or {}).get("message", f"It was {task['status']}.")
                raise PermanentError(reason, code=f"task_{task['status']}")
            time.sleep(pause)
            pause = min(pause * 1.1, _SLOWEST_POLL_SECONDS)

    def result(self, task_id: str, output_format: str) -> str:
        """Return a transcript's text in one of the formats."""
        return self._request("GET", self._result_path(task_id, output_format)).text

    def result_url(self, task_id: str, output_format: str) -> str:
        """Return where anybody can fetch a transcript."""
        return self._url.rstrip("/") + self._result_path(task_id, output_format)

    def delete(self, task_id: str) -> None:
        """Remove a task and everything stored for it; one that is being worked on is cancelled."""
        self._request("DELETE", f"{_TASKS}/{task_id}")

    def search(
        self, query: str, most: int, where: dict[str, str]
    ) -> tuple[list[dict[str, Any]], bool]:
        """Return the first places where a query occurs, and whether there are more.

        Args:
            query: Words and "phrases".
            most: At most so many.
            where: Further parameters of `GET /api/v1/search`.
        """
        hits: list[dict[str, Any]] = []
        asked: dict[str, Any] = {"q": query, **where}
        while True:
            asked["limit"] = min(most - len(hits), _MOST_HITS_AT_ONCE)
            page = self._json("GET", _SEARCH, params=asked)
            hits += page["hits"]
            if page["next_cursor"] is None or len(hits) == most:
                return hits, page["next_cursor"] is not None
            asked["cursor"] = page["next_cursor"]

    @staticmethod
    def _result_path(task_id: str, output_format: str) -> str:
        return f"{_TASKS}/{task_id}/result?format={output_format}"

    def _json(self, method: str, path: str, **arguments: Any) -> dict[str, Any]:
        values: dict[str, Any] = self._request(method, path, **arguments).json()
        return values

    def _request(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        """Send a request until it is answered for good, or we have waited often enough."""
        for pause in _PAUSES_SECONDS:
            try:
                return self._request_once(method, path, **arguments)
            except TransientError as error:
                seconds = error.details.get("retry_after", pause)
                if self._on_wait is not None:
                    self._on_wait(f"{error.message} Trying again in {seconds:g} s.")
                time.sleep(seconds)
        return self._request_once(method, path, **arguments)

    def _request_once(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        try:
            response = self._http.request(method, path, **arguments)
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error
        self._was_there = True
        if response.is_error:
            raise _refusal(response)
        return response

    def _unreachable(self, error: httpx.HTTPError) -> AppError:
        """Return what became of a request that got no answer: only a lost one is sent again."""
        name, code = type(error).__name__, "server_unreachable"
        connecting = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
        lost = isinstance(
            error, httpx.NetworkError | httpx.TimeoutException | httpx.RemoteProtocolError
        )
        if lost and (self._was_there or not connecting):
            return TransientError(f"The connection to {self._url} broke ({name}).", code=code)
        return PermanentError(
            f"No server answers at {self._url} ({name}). "
            "Start one with `python main.py up`, or name another with --url.",
            code=code,
        )


def _refusal(response: httpx.Response) -> AppError:
    """Return what a server's refusal says; whoever may ask again is told when (Retry-After)."""
    after = response.headers.get("Retry-After", "")
    details = {"retry_after": float(after)} if after.isdigit() else {}
    try:
        body = response.json()
        code, message = str(body["code"]), str(body["message"])
    except (ValueError, KeyError, TypeError):
        code, message = "http_error", f"The server answered {response.status_code}."
    if response.status_code == httpx.codes.UNAUTHORIZED:
        message += " Set API_KEY to a key of that server, in the environment or in .env."
    # A gateway's own errors have no JSON of ours: the server behind it is being restarted.
    is_passing = details or (code == "http_error" and response.status_code in _GATEWAY_ERRORS)
    kind = TransientError if is_passing else PermanentError
    return kind(message, code=code, **details)
