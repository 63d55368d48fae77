"""`search`: who said it, in which recording, and when."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import click

from core.config import load_settings
from internal.cli.client import ApiClient


@click.command()
@click.argument("words", nargs=-1, required=True)
@click.option("--speaker", help="Only what the speaker of this name or id says.")
@click.option("--file-name", help="Only recordings with this in their name.")
@click.option("--language", help="Only transcripts in this language.")
@click.option(
    "-n", "--limit", type=click.IntRange(min=1), default=20, show_default=True,
    help="Show at most so many places.",
)  # fmt: skip
@click.option("--url", help="Server; this machine's where omitted.")
def search(words: tuple[str, ...], limit: int, url: str | None, **where: str | None) -> None:
    """Show where WORDS are said: all of them, in one segment of a transcript.

    Words in quotation marks have to follow each other: search '"budget meeting"'. Capitals and
    accents do not count.
    """
    settings = load_settings()
    options = {name: value for name, value in where.items() if value is not None}
    with ApiClient(url or settings.api_url, _tell, api_key=settings.api_key) as client:
        hits, has_more = client.search(" ".join(words), limit, options)
    for (_, file_name), of_task in groupby(
        hits, key=lambda hit: (hit["task_id"], hit["file_name"])
    ):
        click.secho(file_name, fg="cyan")
        for hit in of_task:
            click.echo(_describe(hit))
    if not hits:
        _tell("nothing found")
    if has_more:
        _tell(f"there are more: --limit {2 * limit}")


def _describe(hit: dict[str, Any]) -> str:
    """Return a hit as a line, with the words marked that were searched for."""
    minutes, seconds = divmod(int(hit["start"]), 60)
    text, marked, at = hit["text"], "", 0
    for start, end in hit["matches"]:
        marked += text[at:start] + click.style(text[start:end], bold=True, underline=True)
        at = end
    speaker = f"{hit['speaker_label']}: " if hit["speaker_label"] else ""
    return f"  [{minutes // 60}:{minutes % 60:02}:{seconds:02}] {speaker}{marked}{text[at:]}"


def _tell(line: str) -> None:
    click.echo(line, err=True)
