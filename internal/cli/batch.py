"""Many recordings: several under way at once, one bar for all, and on after failures."""

from __future__ import annotations

import queue
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from tqdm import tqdm

from core.errors import AppError, TransientError
from internal.cli.client import ApiClient
from internal.cli.following import Order, Source, fetch, leave, name_of, submit, tell

_BAR = "{desc}: {percentage:3.0f} %|{bar:20}| {elapsed}{postfix}"
_LONGEST_NAME = 24
_THREADS = "transcribing"


@dataclass(frozen=True)
class Item:
    """A recording to be transcribed.

    Attributes:
        source: The recording.
        target: Where its transcript is written; None for standard output.
    """

    source: Source
    target: Path | None


@dataclass(frozen=True)
class Outcome:
    """What became of a recording: its transcript, or why there is none."""

    item: Item
    text: str = ""
    error: AppError | None = None


class Workers:
    """Has recordings transcribed, so many at once, in the order in which they are added.

    Their threads end with the program: what is under way then goes on at the server.
    """

    def __init__(self, client: ApiClient, order: Order, parallel: int) -> None:
        self._client = client
        self._order = order
        self._waiting: queue.Queue[Item] = queue.Queue()
        self._done: queue.Queue[Outcome] = queue.Queue()
        self._tasks: dict[Item, str] = {}
        self._told: set[str] = set()
        self._is_stopping = False
        self.percents: dict[Item, float] = {}
        for _ in range(parallel):
            threading.Thread(target=self._work, name=_THREADS, daemon=True).start()

    def add(self, item: Item) -> None:
        """Have a recording transcribed when its turn comes."""
        self._waiting.put(item)

    def next_outcome(self, timeout: float | None = None) -> Outcome | None:
        """Return what became of a recording, as soon as one is done; None after the time-out."""
        try:
            return self._done.get(timeout=timeout)
        except queue.Empty:
            return None

    def leave(self) -> None:
        """See to the tasks for which nobody waits any more, and begin no others."""
        self._is_stopping = True
        for item, task_id in list(self._tasks.items()):
            tell(f"{name_of(item.source)}:")
            leave(self._client, task_id, self._order)

    def _work(self) -> None:
        while True:
            item = self._waiting.get()
            if self._is_stopping:
                return
            try:
                outcome = Outcome(item, self._transcribe(item))
            except AppError as error:
                outcome = Outcome(item, error=error)
            except Exception as error:  # noqa: BLE001 - nobody else would see it in a thread
                reason = f"It could not be sent ({error})."
                outcome = Outcome(item, error=AppError(reason, code=type(error).__name__))
            self.percents.pop(item, None)
            self._tasks.pop(item, None)
            self._done.put(outcome)

    def _transcribe(self, item: Item) -> str:
        self.percents[item] = 0.0
        task_id = submit(self._client, item.source, self._order)["id"]
        self._tasks[item] = task_id

        def note(task: dict[str, Any]) -> None:
            self.percents[item] = task["progress"]["percent"]

        done = self._client.wait(task_id, note)
        for warning in done["warnings"]:
            if warning not in self._told:  # most are of all of them
                self._told.add(warning)
                tell(f"note: {warning}")
        return fetch(self._client, task_id, self._order)


def transcribe_all(workers: Workers, items: Sequence[Item]) -> bool:
    """Transcribe recordings, and print or write each one's transcript; say at the end what failed.

    Returns:
        Whether none failed.
    """
    for item in items:
        workers.add(item)
    failed = []
    try:
        for outcome in _in_order(_shown(workers, len(items)), items):
            if outcome.error is not None:
                failed.append(outcome.item)
            elif outcome.item.target is None:
                end = "" if outcome.text.endswith("\n") else "\n"
                tqdm.write(outcome.text, file=sys.stdout, end=end)
    except KeyboardInterrupt:
        workers.leave()
        raise
    click.echo(f"{len(items) - len(failed)} of {len(items)} transcribed", err=True)
    for item in failed:
        click.echo(f"  failed: {_path_of(item)}", err=True)
    return not failed


def settle(outcome: Outcome) -> None:
    """Write a transcript to its file, or say why there is none."""
    error, target = outcome.error, outcome.item.target
    if error is not None:
        tell(f"{_path_of(outcome.item)}: {error.message} ({error.error_code})")
    elif target is not None:
        write(target, outcome.text)
        tell(f"{_path_of(outcome.item)}: written to {target}")


def write(target: Path, text: str) -> None:
    """Write a transcript; its file appears whole or not at all."""
    if target.exists() and not target.is_file():  # /dev/stdout, say
        target.write_text(text, encoding="utf-8")
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.part")
    partial.write_text(text, encoding="utf-8")
    partial.replace(target)


def may_pass(error: AppError) -> bool:
    """Whether a failure is one of the server's, so that the recording may be tried again."""
    return isinstance(error, TransientError) or error.error_code == "server_unreachable"


def _shown(workers: Workers, total: int) -> Iterator[Outcome]:
    """Yield each outcome when it is there, with a bar for all of them meanwhile."""
    done = 0
    with tqdm(total=100, unit="%", bar_format=_BAR, file=sys.stderr) as bar:
        while done < total:
            outcome = workers.next_outcome(0.25)
            if outcome is not None:
                done += 1
                settle(outcome)
                yield outcome
            running = list(workers.percents.items())
            bar.n = (100 * done + sum(percent for _, percent in running)) / total
            bar.set_description_str(f"{done} of {total}", refresh=False)
            names = (f"{_short(item)} {percent:.0f} %" for item, percent in running)
            bar.set_postfix_str(", ".join(names))


def _in_order(outcomes: Iterator[Outcome], items: Sequence[Item]) -> Iterator[Outcome]:
    """Yield outcomes in the order of the items, which is that of standard output."""
    early: dict[Item, Outcome] = {}
    left = list(items)
    for outcome in outcomes:
        early[outcome.item] = outcome
        while left and left[0] in early:
            yield early.pop(left.pop(0))


def _path_of(item: Item) -> str:
    return name_of(item.source) if isinstance(item.source, str) else str(item.source)


def _short(item: Item) -> str:
    name = name_of(item.source)
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"
