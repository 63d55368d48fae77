"""What clients were promised, and whether it was kept."""

from __future__ import annotations

import threading
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.chaos.backend import ENDED, LONG, Backend, wait_for
from tests.chaos.recordings import Recording

# A killed process's folder is removed once it is older than the grace, by a consumer that looks
# every half minute.
_ABANDONED_SECONDS = 60
_FOLLOW_UP = {"follow_up", "follow_up_at", "follow_up_attempts", "indexed"}


@dataclass(frozen=True)
class Promise:
    """A task that a client was told of with a 202."""

    id: str
    tag: str
    recording: Recording


@dataclass
class Ledger:
    """A client that writes down every task that it was promised."""

    backend: Backend
    promises: list[Promise] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def upload(self, recording: Recording, prompt: str = "", **options: str) -> Promise:
        """Upload a recording and expect a 202; the prompt commands the stand-in."""
        tag = uuid.uuid4().hex[:12]
        with httpx.Client(base_url=self.backend.url, timeout=60) as client:
            answer = post(client, recording, tag, prompt, **options)
        assert answer.status_code == 202, answer.text
        return self.note(answer, tag, recording)

    def insist(self, recording: Recording, prompt: str = "", seconds: float = 180) -> Promise:
        """Upload as a good client does while the server comes and goes: with a key, again."""
        tag = key = uuid.uuid4().hex[:12]
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with suppress(httpx.TransportError), httpx.Client(base_url=self.backend.url) as client:
                answer = post(client, recording, tag, prompt, key=key)
                if answer.status_code == 202:
                    return self.note(answer, tag, recording)
                assert answer.status_code in (409, 429, 503), answer.text
                assert "Retry-After" in answer.headers
            time.sleep(0.3)
        raise AssertionError(f"no 202 in {seconds} s")

    def note(self, answer: httpx.Response, tag: str, recording: Recording) -> Promise:
        promise = Promise(answer.json()["id"], tag, recording)
        with self._lock:
            self.promises.append(promise)
        return promise

    def wait(self, *promises: Promise, seconds: float = 90) -> None:
        """Wait until these tasks have ended, or all."""
        for promise in promises or tuple(self.promises):
            wait_for(
                lambda promise=promise: self.backend.has_ended(promise.id),
                f"the end of {promise}, which is {self.backend.job(promise.id)}",
                seconds,
            )

    def result(self, promise: Promise) -> dict[str, Any]:
        answer = httpx.get(f"{self.backend.url}/api/v1/tasks/{promise.id}/result", timeout=60)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def check_completed(self, *promises: Promise) -> None:
        """See that tasks end completed, with the words of an undisturbed run."""
        self.wait(*promises)
        for promise in promises:
            job = self.backend.job(promise.id)
            assert job["status"] == "completed", job
            assert self.result(promise)["text"] == promise.recording.text
            assert self.backend.done_words(promise.id) == list(promise.recording.words)

    def check_once(self, *promises: Promise) -> None:
        """See that no chunk was transcribed twice."""
        for promise in promises:
            begun = self.backend.tools.journal(promise.tag, "begin")
            assert sorted(begun) == sorted(set(begun))

    def check_nothing_left(self) -> None:
        """See that only what finished tasks keep is left of everything."""
        wait_for(lambda: self.backend.database.units.count_documents({}) == 0, "no units left")
        wait_for(lambda: not self.backend.engines(), "no engine runs")
        wait_for(lambda: self._stray_objects() == [], "no stray objects", _ABANDONED_SECONDS)
        wait_for(lambda: self._stray_files() == [], "no stray files", _ABANDONED_SECONDS)
        wait_for(lambda: not self.backend.work_horses(), "no work-horse is left")

    def check_settled(self) -> None:
        """See that each task has ended, and stays as it is: an end is for good."""
        self.wait()
        ends = self._ends()
        assert set(ends) == {promise.id for promise in self.promises}
        database = self.backend.database
        followed = {"_id": {"$in": list(ends)}, "follow_up": {"$eq": True}}
        wait_for(lambda: database.units.count_documents({}) == 0, "no units left")
        wait_for(lambda: database.jobs.find_one(followed) is None, "all are indexed and announced")
        assert self._ends() == ends
        assert self.backend.relapses == []

    def _ends(self) -> dict[str, dict[str, Any]]:
        """The tasks that have ended, but for what their follow-up writes down about itself."""
        ids = [promise.id for promise in self.promises]
        query = {"_id": {"$in": ids}, "status": {"$in": list(ENDED)}}
        found = self.backend.database.jobs.find(query)
        return {job["_id"]: {k: job[k] for k in job if k not in _FOLLOW_UP} for job in found}

    def _stray_objects(self) -> list[str]:
        objects = self.backend.stack.data_dir / "objects"
        jobs = {job["_id"]: job for job in self.backend.database.jobs.find()}
        kept = {job["source"]["object"] for job in jobs.values()}
        kept |= {job["result"]["object"] for job in jobs.values() if job["result"]}
        found = [path.relative_to(objects) for path in objects.rglob("*") if path.is_file()]
        return sorted(str(path) for path in found if str(path) not in kept)

    def _stray_files(self) -> list[str]:
        """Working folders; in the short form, those that should have been removed by now."""
        folder = self.backend.stack.data_dir / "tmp"
        before = time.time() - (0 if LONG else _ABANDONED_SECONDS)
        found = [path for path in folder.iterdir() if not path.name.startswith("diarizer-")]
        return [path.name for path in found if path.stat().st_mtime < before]


def post(
    client: httpx.Client,
    recording: Recording,
    tag: str,
    prompt: str = "",
    key: str | None = None,
    **options: str,
) -> httpx.Response:
    headers = {"Idempotency-Key": key} if key else {}
    with recording.path.open("rb") as file:
        return client.post(
            "/api/v1/tasks/upload",
            files={"file": (recording.path.name, file)},
            data={"prompt": f"tag={tag} {prompt}".strip()} | options,
            headers=headers,
        )
