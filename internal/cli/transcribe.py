"""`transcribe`: recordings in, transcripts out."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, count
from pathlib import Path
from typing import Any

import click
import httpx

from core.config import load_settings
from core.errors import AppError
from internal.cli.batch import Item, Outcome, Workers, settle, transcribe_all
from internal.cli.client import ApiClient, KnownSpeakers
from internal.cli.following import Order, Source, tell, transcribe_file
from internal.cli.recordings import find_recordings
from internal.cli.watch import watch
from services.speaker_service import MOST_SPEAKERS
from worker.formats import FORMATS

_SPEAKERS = click.IntRange(1, MOST_SPEAKERS)
_CLIP = click.Path(exists=True, dir_okay=False, readable=True, path_type=Path)


class _KnownSpeaker(click.ParamType[tuple[str, Path]]):
    """`Laura=laura.wav`: a name, and a clip of the voice."""

    name = "name=file"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str, Path]:
        """Return the name and the path of a file that is there."""
        name, equals, clip = value.partition("=")
        if not (name.strip() and equals):
            self.fail(f"{value!r} is not of the form Laura=laura.wav", param, ctx)
        return name.strip(), _CLIP.convert(clip, param, ctx)


class _Address(click.ParamType[str]):
    """Of http or https."""

    name = "url"

    def convert(self, value: Any, param: Any, ctx: Any) -> str:
        """Return the address as it is."""
        try:
            url = httpx.URL(value)
        except httpx.InvalidURL:
            url = httpx.URL()
        if url.scheme not in ("http", "https") or not url.host:
            self.fail("That is not an address such as https://example.org/talk.mp3", param, ctx)
        return str(value)


@click.command()
@click.argument("files", nargs=-1, type=click.Path(exists=True, readable=True, path_type=Path))
@click.option(
    "--from-url", type=_Address(), multiple=True,
    help="Address of a recording that the server downloads; again for each.",
)  # fmt: skip
@click.option(
    "--watch", "watched", type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Transcribe what lies in a folder, and what is put there later, until Ctrl-C.",
)  # fmt: skip
@click.option(
    "-f", "--format", "output_format",
    type=click.Choice(list(FORMATS)), default="txt", show_default=True, help="Of the transcript.",
)  # fmt: skip
@click.option(
    "-o", "--out", type=click.Path(path_type=Path),
    help="File to write, or a folder for several; standard output where omitted (with --watch, "
    "beside the recordings).",
)  # fmt: skip
@click.option(
    "--parallel", type=click.IntRange(1, 32), default=2, show_default=True,
    help="How many recordings are under way at once.",
)  # fmt: skip
@click.option("--language", help="Code of the language spoken; detected where omitted.")
@click.option(
    "--task", type=click.Choice(["transcribe", "translate"]),
    help="`translate` writes in English whatever is spoken.",
)  # fmt: skip
@click.option("--model", help="Speech model; the server's default where omitted.")
@click.option("--prompt", help="Names and words to expect.")
@click.option("--chunking", type=click.Choice(["silence", "fixed"]), help="Where to cut.")
@click.option("--diarize", is_flag=True, help="Find out who says what.")
@click.option("--num-speakers", type=_SPEAKERS, help="How many speakers there are, if known.")
@click.option("--min-speakers", type=_SPEAKERS, help="A lower bound.")
@click.option("--max-speakers", type=_SPEAKERS, help="An upper bound.")
@click.option(
    "--known-speaker", "known_speakers", type=_KnownSpeaker(), multiple=True,
    help="Somebody who may speak, and 1 to 30 s of their voice alone; again for each.",
)  # fmt: skip
@click.option("--webhook-url", help="Address that is told of the end.")
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
    from_url: tuple[str, ...],
    watched: Path | None,
    output_format: str,
    out: Path | None,
    parallel: int,
    url: str | None,
    keep: bool,
    reuse: bool,
    known_speakers: KnownSpeakers,
    **options: str | float | bool | None,
) -> None:
    """Upload FILES, and the recordings in folders named, wait, and print or write the transcripts.

    Progress goes to standard error; standard output holds transcripts alone. With several files,
    those that fail are named at the end and the others are done all the same. After Ctrl-C the
    server goes on with what it has, and keeps it; with --no-keep, it stops and removes it.
    """
    if watched and (files or from_url):
        raise click.UsageError("--watch takes its folder alone, no FILES and no --from-url.")
    if not (watched or files or from_url):
        raise click.UsageError("Name FILES or folders, or use --from-url or --watch.")
    asked = {name: str(value) for name, value in options.items() if value}
    if not reuse:
        asked["reuse"] = "false"
    order = Order(output_format, asked, known_speakers, keep=keep)
    settings = load_settings()
    with ApiClient(url or settings.api_url, tell, api_key=settings.api_key) as client:
        if watched:
            succeeded = watch(watched, out or watched, Workers(client, order, parallel), order)
        else:
            items = _plan(files, from_url, out, output_format)
            if len(items) == 1:
                succeeded = _transcribe_one(client, items[0], order)
            else:
                succeeded = transcribe_all(Workers(client, order, parallel), items)
    if not succeeded:
        raise SystemExit(1)


def _plan(
    files: Sequence[Path], urls: Sequence[str], out: Path | None, output_format: str
) -> list[Item]:
    """Return what is to be transcribed, and where each transcript goes."""
    recordings = find_recordings(files)
    if not (recordings or urls):
        raise click.UsageError("There is no recording in the folders named.")
    places: dict[Source, str] = {each.path: each.place for each in recordings}
    for address in urls:
        if address not in places:
            places[address] = _place_of(address, set(places.values()))
    is_folder = len(places) > 1 or any(path.is_dir() for path in files) or (out and out.is_dir())

    def target(place: str) -> Path | None:
        return out / f"{place}.{output_format}" if out and is_folder else out

    return [Item(source, target(place)) for source, place in places.items()]


def _place_of(address: str, taken: set[str]) -> str:
    """Return a name for the transcript of what is at an address."""
    parsed = httpx.URL(address)
    name = Path(parsed.path).stem or parsed.host
    numbered = (f"{name}-{number}" for number in count(2))
    return next(free for free in chain([name], numbered) if free not in taken)


def _transcribe_one(client: ApiClient, item: Item, order: Order) -> bool:
    """Transcribe the only recording, with a bar of its own; return whether that went well."""
    try:
        text = transcribe_file(client, item.source, order)
    except AppError as error:
        settle(Outcome(item, error=error))
        return False
    if item.target is None:
        click.echo(text, nl=not text.endswith("\n"))
    else:
        settle(Outcome(item, text))
    return True
