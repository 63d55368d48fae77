"""A folder whose recordings are transcribed as they come.

What is done is known by its transcript: nothing else has to be remembered.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from internal.cli.batch import Item, Outcome, Workers, may_pass, settle
from internal.cli.following import Order, tell
from internal.cli.recordings import find_recordings

_LOOK_SECONDS = 1.0
# A file that has not changed for so long is taken to be whole.
_SETTLED_SECONDS = 5.0
_TRY_AGAIN_SECONDS = 30.0

State = tuple[int, int]


def watch(folder: Path, out: Path, workers: Workers, order: Order) -> bool:
    """Transcribe a folder's recordings until Ctrl-C, whatever becomes of single ones.

    Args:
        folder: Where recordings are, or will be put.
        out: Where transcripts go; a recording that has one is left alone.
        workers: Transcribe them.
        order: Names the transcripts' format.

    Returns:
        Whether none failed for good.
    """
    tell(f"watching {folder}; press Ctrl-C to stop")
    watched = _Watched(folder, out, order.output_format)
    written = 0
    try:
        while True:
            for item in watched.ready():
                tell(f"{item.source}: transcribing")
                workers.add(item)
            outcome = workers.next_outcome(_LOOK_SECONDS)
            while outcome is not None:
                settle(outcome)
                written += outcome.error is None
                watched.note(outcome)
                outcome = workers.next_outcome(0)
    except KeyboardInterrupt:
        workers.leave()
        failed = watched.failed()
        click.echo(f"stopped: {written} transcribed, {len(failed)} failed", err=True)
        for path in failed:
            click.echo(f"  failed: {path}", err=True)
    return not failed


@dataclass
class _Seen:
    """A file as it was when it was looked at first, or has changed last."""

    state: State
    since: float
    is_busy: bool = False
    wait_until: float = 0.0  # for ever, after a failure for good


class _Watched:
    """What is known of a folder's files."""

    def __init__(self, folder: Path, out: Path, output_format: str) -> None:
        self._folder = folder
        self._out = out
        self._format = output_format
        self._seen: dict[Path, _Seen] = {}

    def ready(self) -> Iterator[Item]:
        """Yield the recordings that are whole, and are neither transcribed nor being so."""
        now = time.monotonic()
        for recording in find_recordings([self._folder]):
            target = self._out / f"{recording.place}.{self._format}"
            state = _state_of(recording.path)
            if state is None or target.exists():
                continue
            seen = self._seen.get(recording.path)
            if seen is None or (seen.state != state and not seen.is_busy):
                self._seen[recording.path] = _Seen(state, now)
            elif (
                not seen.is_busy and now >= seen.since + _SETTLED_SECONDS and now >= seen.wait_until
            ):
                seen.is_busy = True
                yield Item(recording.path, target)

    def note(self, outcome: Outcome) -> None:
        """Remember what became of a recording."""
        source, error = outcome.item.source, outcome.error
        assert isinstance(source, Path)
        if error is None:  # from now on, its transcript tells
            del self._seen[source]
            return
        self._seen[source].is_busy = False
        pause = _TRY_AGAIN_SECONDS if may_pass(error) else float("inf")
        self._seen[source].wait_until = time.monotonic() + pause

    def failed(self) -> list[Path]:
        """Return the recordings that failed for good, and have not changed since."""
        return [path for path, seen in self._seen.items() if seen.wait_until == float("inf")]


def _state_of(path: Path) -> State | None:
    """Return what changes when a file is written to; None if it is gone, or still empty."""
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_size, found.st_mtime_ns) if found.st_size else None
