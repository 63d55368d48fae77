"""`transcribe` and `demo`: upload, show progress, print the transcript."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
from tqdm import tqdm

from core.config import PROJECT_ROOT, load_settings
from core.errors import AppError
from internal.cli.client import ApiClient
from services.speaker_service import MOST_SPEAKERS
from worker.formats import FORMATS

SAMPLE = PROJECT_ROOT / "samples" / "meeting.wav"
_SPEAKERS = click.IntRange(1, MOST_SPEAKERS)
_BAR = "{desc}: {percentage:3.0f} %|{bar:30}| {elapsed}{postfix}"


@click.command()
@click.argument(
    "files",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, dir_okay=False, readable=True, path_type=Path),
)
@click.option(
    "-f", "--format", "output_format",
    type=click.Choice(list(FORMATS)), default="txt", show_default=True, help="Of the transcript.",
)  # fmt: skip
@click.option(
    "-o", "--out", type=click.Path(path_type=Path),
    help="File to write, or a folder for several; standard output where omitted.",
)  # fmt: skip
@click.option("--language", help="Code of the language spoken; detected where omitted.")
@click.option("--model", help="Speech model; the server's default where omitted.")
@click.option("--prompt", help="Names and words to expect.")
@click.option("--chunking", type=click.Choice(["silence", "fixed"]), help="Where to cut.")
@click.option("--diarize", is_flag=True, help="Find out who says what.")
@click.option("--num-speakers", type=_SPEAKERS, help="How many speakers there are, if known.")
@click.option("--min-speakers", type=_SPEAKERS, help="A lower bound.")
@click.option("--max-speakers", type=_SPEAKERS, help="An upper bound.")
@click.option("--keep/--no-keep", default=True, help="Whether the server keeps the task.")
@click.option(
    "--keep-hours", type=click.FloatRange(min=0, min_open=True),
    help="How long it keeps the task; the server's default where omitted.",
)  # fmt: skip
@click.option(
    "--reuse/--no-reuse", default=True, show_default=True,
    help="Whether an earlier transcript of the same recording will do.",
)  # fmt: skip
@click.option("--url", help="Server; this machine's where omitted.")
def transcribe(
    files: tuple[Path, ...],
    output_format: str,
    out: Path | None,
    url: str | None,
    keep: bool,
    reuse: bool,
    **options: str | float | bool | None,
) -> None:
    """Upload FILES, wait, and print or write their transcripts.

    Progress goes to standard error; standard output holds transcripts alone. With several files,
    those that fail are named at the end and the others are done all the same. After Ctrl-C the
    server goes on with what it has, and keeps it; with --no-keep, it stops and removes it.
    """
    asked = {name: str(value) for name, value in options.items() if value}
    if not reuse:
        asked["reuse"] = "false"
    failures = []
    with ApiClient(url or load_settings().api_url, _tell) as client:
        for path in files:
            try:
                text = transcribe_file(client, path, output_format, asked, keep=keep)
            except AppError as error:
                failures.append(path)
                click.echo(f"{path}: {error.message} ({error.error_code})", err=True)
            else:
                _deliver(text, path, output_format, out, many=len(files) > 1)
    if failures:
        raise SystemExit(1)


def transcribe_file(
    client: ApiClient, path: Path, output_format: str, options: dict[str, str], *, keep: bool = True
) -> str:
    """Upload one file, show a progress bar on stderr, and return its transcript.

    Raises:
        AppError: The server refuses it or the task fails.
    """
    click.echo(f"{path.name}: uploading", err=True)
    task = client.upload(path, options)
    task_id: str = task["id"]
    if task.get("reused_from"):
        click.echo("note: transcribed before; --no-reuse transcribes it again", err=True)
    try:
        with tqdm(desc=path.name, total=100, unit="%", bar_format=_BAR, file=sys.stderr) as bar:

            def show(status: dict[str, Any]) -> None:
                bar.n = status["progress"]["percent"]
                bar.set_postfix_str(_describe(status))

            done = client.wait(task_id, show)
    except KeyboardInterrupt:
        if keep:
            url = client.result_url(task_id, output_format)
            _tell(f"The server goes on with it. Fetch the transcript later: curl '{url}'")
        elif _remove(client, task_id):
            _tell("The task was cancelled and removed.")
        raise
    for warning in done["warnings"]:
        click.echo(f"note: {warning}", err=True)
    text = client.result(task_id, output_format)
    if not keep:
        _remove(client, task_id)
    return text


def _remove(client: ApiClient, task_id: str) -> bool:
    """Remove a task; that it stays is no reason to withhold its transcript."""
    try:
        client.delete(task_id)
    except AppError as error:
        click.echo(f"note: task {task_id} could not be removed: {error.message}", err=True)
        return False
    return True


def _tell(line: str) -> None:
    """Show a line on standard error, above the progress bar if there is one."""
    tqdm.write(line, file=sys.stderr)


def _describe(task: dict[str, Any]) -> str:
    if task["queue_position"]:
        return f"waiting, place {task['queue_position']} in the queue"
    progress = task["progress"]
    if task["stage"] not in ("transcribe", "diarize"):
        return str(task["stage"])
    chunks = f"chunk {progress['chunks_done']} of {progress['chunks_total']}"
    speakers = progress["diarization_percent"]
    return chunks if speakers is None else f"{chunks}, speakers {speakers:.0f} %"


def _deliver(text: str, path: Path, output_format: str, out: Path | None, *, many: bool) -> None:
    """Print a transcript, or write it to the file or folder asked for."""
    if out is None:
        click.echo(text, nl=not text.endswith("\n"))
        return
    target = out
    if many or out.is_dir():
        out.mkdir(parents=True, exist_ok=True)
        target = out / f"{path.stem}.{output_format}"
    target.write_text(text, encoding="utf-8")
    click.echo(f"{path}: written to {target}", err=True)
