"""Listening to events as a browser's EventSource does, and what there is to be heard."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pymongo

from repositories.models import ChunkModel, ChunkStatus
from tests.api.support import TASKS

LAST = ("completed", "failed", "cancelled", "deleted")


@dataclass(frozen=True)
class Event:
    id: str
    type: str
    data: dict[str, Any]


@dataclass
class Listener:
    """Goes on after the last event that it has had, over one connection after the other."""

    api: httpx.Client
    task_id: str
    events: list[Event] = field(default_factory=list)
    raw: bytes = b""

    @property
    def segments(self) -> list[dict[str, Any]]:
        return [event.data for event in self.events if event.type == "segment"]

    @property
    def types(self) -> list[str]:
        return [event.type for event in self.events]

    def connect(self, most_bytes: float = float("inf")) -> int:
        """Listen until the server or, after so many bytes, we end it; returns the HTTP status."""
        self.raw = b""
        handled = len(self.events)
        with self.api.stream("GET", path_of(self.task_id), headers=self._headers()) as answer:
            if answer.status_code != 200:
                answer.read()
                return answer.status_code
            assert answer.headers["Content-Type"].startswith("text/event-stream")
            for some in answer.iter_raw():
                room = most_bytes - len(self.raw)
                self.raw += some if len(some) < room else some[: int(room)]
                self.events[handled:] = parse(self.raw)
                if len(some) >= room:
                    break
        return 200

    @contextmanager
    def listening(self) -> Iterator[Future[int]]:
        """Listen beside the block; the end is awaited."""
        with ThreadPoolExecutor(1) as pool:
            future = pool.submit(self.connect)
            yield future
            future.result(60)

    def _headers(self) -> dict[str, str]:
        return {"Last-Event-ID": self.events[-1].id} if self.events else {}


def path_of(task_id: str) -> str:
    return f"{TASKS}/{task_id}/events"


def parse(body: bytes) -> list[Event]:
    """The events that are there as a whole; an end that was cut off is dropped, as the spec has it.

    (https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation)
    """
    events = []
    for block in body.split(b"\n\n")[:-1]:
        lines = [line for line in block.decode().split("\n") if not line.startswith(":")]
        fields = dict(line.split(": ", 1) for line in lines)
        if "data" in fields:
            events.append(Event(fields["id"], fields["event"], json.loads(fields["data"])))
    return events


class Consumers:
    """What consumers write down of a task, one thing after the other."""

    def __init__(self, mongodb_url: str, database: str, task_id: str) -> None:
        self._client: pymongo.MongoClient[dict[str, Any]] = pymongo.MongoClient(mongodb_url)
        self._jobs = self._client[database]["jobs"]
        self._chunks = self._client[database]["chunks"]
        self._task_id = task_id

    def cut(self, count: int) -> None:
        """The recording is cut into chunks."""
        self._chunks.insert_many([self._chunk(index).to_dict() for index in range(count)])
        progress = {"chunks_done": 0, "chunks_total": count}
        self._set(status="processing", stage="transcribe", duration=10.0 * count, progress=progress)

    def finish(self, index: int) -> None:
        done = self._chunk(index).model_copy(update={"status": ChunkStatus.DONE})
        words = [{"word": f"w{index}", "start": 1.0, "end": 2.0, "confidence": 0.9}]
        segment = {"start": 1.0, "end": 2.0, "text": f"w{index}", "words": words, "confidence": 0.9}
        values = done.model_copy(update={"segments": [segment]}).to_dict()
        self._chunks.replace_one({"_id": values["_id"]}, values)
        self._jobs.update_one({"_id": self._task_id}, {"$inc": {"progress.chunks_done": 1}})

    def complete(self) -> None:
        self._set(status="completed", stage="done")

    def _set(self, **changes: Any) -> None:
        self._jobs.update_one({"_id": self._task_id}, {"$set": changes})

    def _chunk(self, index: int) -> ChunkModel:
        start, end = 10.0 * index, 10.0 * (index + 1)
        return ChunkModel(
            id=ChunkModel.make_id(self._task_id, index), job_id=self._task_id, index=index,
            start=start, end=end, core_start=start, core_end=end, has_speech=True, language="en",
        )  # fmt: skip


MakeConsumers = Callable[[str], Consumers]
