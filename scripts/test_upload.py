"""Smoke run: upload a recording to a server, wait, print the transcript; status 1 on any failure.

The upload is repeated with its Idempotency-Key, which must make no second task; and another task is
made, cancelled and deleted.

Needs httpx and nothing of the project, so that it runs from anywhere against any server.
`python scripts/test_upload.py samples/meeting.wav --url http://127.0.0.1:8000 --format srt`
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import httpx

SAMPLE = Path(__file__).resolve().parent.parent / "samples" / "meeting.wav"
FORMATS = ("txt", "json", "srt", "vtt", "tsv", "rttm")
TASKS = "/api/v1/tasks"
POLL_SECONDS = 0.5
# Between two answers of the server; an upload may take longer to send than one answer to come.
ANSWER_SECONDS = 60
SEND_SECONDS = 600


class SmokeError(Exception):
    """The run failed; the message is a sentence for a person."""


def main() -> int:
    arguments = parse_arguments()
    timeout = httpx.Timeout(ANSWER_SECONDS, write=SEND_SECONDS)
    try:
        headers = {"Authorization": f"Bearer {arguments.key}"} if arguments.key else {}
        with httpx.Client(base_url=arguments.url, timeout=timeout, headers=headers) as client:
            key = str(uuid.uuid4())
            task_id = upload(client, arguments.file, key, diarize=arguments.diarize)
            if upload(client, arguments.file, key, diarize=arguments.diarize) != task_id:
                raise SmokeError("The same Idempotency-Key made another task.")
            cancel_another(client, arguments.file)
            wait(client, task_id, arguments.timeout)
            print(fetch(client, task_id, arguments.format), end="")
    except SmokeError as error:
        return fail(str(error))
    except (ValueError, KeyError, TypeError) as error:
        return fail(f"The answer is not this backend's ({error!r}). Is {arguments.url} right?")
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", nargs="?", type=Path, default=SAMPLE, help="default: the sample")
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="default: %(default)s")
    parser.add_argument(
        "--key", default=os.environ.get("API_KEY"),
        help="API key, where the server has any; default: the variable API_KEY",
    )  # fmt: skip
    parser.add_argument("--format", choices=FORMATS, default="txt", help="default: %(default)s")
    parser.add_argument("--diarize", action="store_true", help="find out who says what, too")
    parser.add_argument(
        "--timeout", type=float, default=600, metavar="SECONDS",
        help="longest wait for the transcript; default: %(default)s",
    )  # fmt: skip
    return parser.parse_args()


def upload(client: httpx.Client, path: Path, key: str, **options: bool) -> str:
    """Upload a file, streamed, and return the id of its task."""
    say(f"uploading {path.name} to {client.base_url}")
    form = {name: str(value).lower() for name, value in options.items()}
    try:
        with path.open("rb") as file:
            task = ask(
                client, "POST", f"{TASKS}/upload",
                files={"file": (path.name, file)}, data=form, headers={"Idempotency-Key": key},
            ).json()  # fmt: skip
    except OSError as error:
        raise SmokeError(f"{path} cannot be read: {error.strerror}.") from error
    return str(task["id"])


def cancel_another(client: httpx.Client, path: Path) -> None:
    """Upload a file once more, as another task, and cancel and delete that."""
    path_of_task = f"{TASKS}/{upload(client, path, str(uuid.uuid4()), reuse=False)}"
    try:
        status = ask(client, "POST", f"{path_of_task}/cancel").json()["status"]
    finally:
        ask(client, "DELETE", path_of_task)
    if status != "cancelled":
        raise SmokeError(f"A task that was cancelled is {status}.")


def wait(client: httpx.Client, task_id: str, timeout_seconds: float) -> None:
    """Poll a task until it is completed, saying each change."""
    deadline = time.monotonic() + timeout_seconds
    said = ""
    while True:
        task: dict[str, Any] = ask(client, "GET", f"{TASKS}/{task_id}").json()
        status = str(task["status"])
        line = f"{status}, {task['stage']}, {task['progress']['percent']:.0f} %"
        if line != said:
            say(line)
            said = line
        if status == "completed":
            for warning in task["warnings"]:
                say(f"note: {warning}")
            return
        if status in ("failed", "cancelled"):
            reason = (task["error"] or {}).get("message", "no reason is given")
            raise SmokeError(f"The task was {status}: {reason}")
        if time.monotonic() > deadline:
            raise SmokeError(
                f"The task {task_id} was not completed in {timeout_seconds:g} s. "
                "Do consumers run? `python main.py status` says."
            )
        time.sleep(POLL_SECONDS)


def fetch(client: httpx.Client, task_id: str, output_format: str) -> str:
    """Return the transcript in the format asked for, after a check that it holds words."""
    words: str = ask(client, "GET", f"{TASKS}/{task_id}/result").json()["text"]
    if not words.strip():
        raise SmokeError("The task was completed, but its transcript is empty.")
    text = ask(client, "GET", f"{TASKS}/{task_id}/result", params={"format": output_format}).text
    return text if text.endswith("\n") else f"{text}\n"


def ask(client: httpx.Client, method: str, path: str, **arguments: Any) -> httpx.Response:
    """Send one request; anything but a success ends the run."""
    try:
        response = client.request(method, path, **arguments)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise SmokeError(f"No server answers at {client.base_url} ({error}).") from error
    if response.is_success:
        return response
    try:
        body = response.json()
        reason = f"{body['message']} ({body['code']})"
    except (ValueError, KeyError, TypeError):
        reason = response.reason_phrase
    raise SmokeError(f"The server answered {response.status_code}: {reason}")


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def fail(reason: str) -> int:
    say(f"FAILED: {reason}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
