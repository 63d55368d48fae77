"""One recording from the request to its transcript, with a progress bar on standard error."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import httpx
from tqdm import tqdm

from core.config import PROJECT_ROOT
from core.errors import AppError
from internal.cli.client import ApiClient, KnownSpeakers

# A file, or the address of one that the server is to download.
Source = Path | str

SAMPLE = PROJECT_ROOT / "samples" / "meeting.wav"
_BAR = "{desc}: {percentage:3.0f} %|{bar:30}| {elapsed}{postfix}"


@dataclass(frozen=True)
class Order:
    """What is to be done with recordings.

    Attributes:
        output_format: Of the transcripts.
        options: Fields of the request.
        known_speakers: Names, with clips of their voices.
        keep: Whether the server keeps the tasks.
    """

    output_format: str
    options: dict[str, str] = field(default_factory=dict)
    known_speakers: KnownSpeakers = ()
    keep: bool = True


def submit(client: ApiClient, source: Source, order: Order) -> dict[str, Any]:
    """Send a recording, or its address, and return its task."""
    if isinstance(source, str):
        return client.from_url(source, order.options, order.known_speakers)
    return client.upload(source, order.options, order.known_speakers)


def name_of(source: Source) -> str:
    """Return what a recording is called on the screen; an address may hold secrets."""
    return httpx.URL(source).host if isinstance(source, str) else source.name


def transcribe_file(client: ApiClient, source: Source, order: Order) -> str:
    """Have one recording transcribed, with a progress bar on stderr; return its transcript.

    Raises:
        AppError: The server refuses it or the task fails.
    """
    name = name_of(source)
    click.echo(f"{name}: {'uploading' if isinstance(source, Path) else 'sent'}", err=True)
    task = submit(client, source, order)
    task_id: str = task["id"]
    if task.get("reused_from"):
        click.echo("note: transcribed before; --no-reuse transcribes it again", err=True)
    try:
        with tqdm(desc=name, total=100, unit="%", bar_format=_BAR, file=sys.stderr) as bar:

            def show(status: dict[str, Any]) -> None:
                bar.n = status["progress"]["percent"]
                bar.set_postfix_str(describe(status))

            done = client.wait(task_id, show)
    except KeyboardInterrupt:
        leave(client, task_id, order)
        raise
    for warning in done["warnings"]:
        click.echo(f"note: {warning}", err=True)
    return fetch(client, task_id, order)


def fetch(client: ApiClient, task_id: str, order: Order) -> str:
    """Return a finished task's transcript, and remove the task if it is not to be kept."""
    text = client.result(task_id, order.output_format)
    if not order.keep:
        remove(client, task_id)
    return text


def leave(client: ApiClient, task_id: str, order: Order) -> None:
    """Say what becomes of a task for which nobody waits any more; remove it if not to be kept."""
    if order.keep:
        url = client.result_url(task_id, order.output_format)
        key = '-H "X-API-Key: $API_KEY" ' if client.sends_key else ""
        tell(f"The server goes on with it. Fetch the transcript later: curl {key}'{url}'")
    elif remove(client, task_id):
        tell("The task was cancelled and removed.")


def remove(client: ApiClient, task_id: str) -> bool:
    """Remove a task; that it stays is no reason to withhold its transcript."""
    try:
        client.delete(task_id)
    except AppError as error:
        tell(f"note: task {task_id} could not be removed: {error.message}")
        return False
    return True


def tell(line: str) -> None:
    """Show a line on standard error, above the progress bar if there is one."""
    tqdm.write(line, file=sys.stderr)


def describe(task: dict[str, Any]) -> str:
    """Return where a task stands, in a few words."""
    if task["queue_position"]:
        return f"waiting, place {task['queue_position']} in the queue"
    progress = task["progress"]
    if task["stage"] not in ("transcribe", "diarize"):
        return str(task["stage"])
    chunks = f"chunk {progress['chunks_done']} of {progress['chunks_total']}"
    speakers = progress["diarization_percent"]
    return chunks if speakers is None else f"{chunks}, speakers {speakers:.0f} %"
