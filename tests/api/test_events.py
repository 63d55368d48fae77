"""Events of tasks over REST: complete, in order and once, however often they are interrupted."""

from __future__ import annotations

import itertools
import random
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import numpy as np
import pytest

from core.config import Settings
from services.event_position import Position
from tests.api.listening import Consumers, Listener, MakeConsumers, path_of
from tests.api.support import TASKS, api_process, needs_folder, refused, wait_until
from tests.chaos.proxy import Proxy
from tests.conftest import SAMPLE, Stack, upload, wait_for_end, write_wav

MOST_WAITING = 2


def heard_to_the_end(api: httpx.Client, task_id: str) -> Listener:
    listener = Listener(api, task_id)
    assert listener.connect() == 200
    return listener


def assert_sound(listener: Listener, end: str) -> None:
    """No event came twice, segments are numbered, and the end is the last."""
    events = listener.events
    assert len({event.id for event in events}) == len(events)
    places = [Position.parse(event.id, listener.task_id) for event in events]
    assert [(p.attempt, p.segments) for p in places] == sorted(
        (p.attempt, p.segments) for p in places
    )
    assert [segment["id"] for segment in listener.segments] == list(range(len(listener.segments)))
    told = [
        (e.data["status"], e.data["stage"], e.data["progress"])
        for e in events
        if "status" in e.data
    ]
    assert all(before != after for before, after in itertools.pairwise(told))
    assert [kind for kind in listener.types if kind not in ("status", "segment")] == [end]
    assert events[-1].type == end


# On a stack that transcribes


def test_cut_off_again_and_again_nothing_is_lost_or_doubled(api: httpx.Client) -> None:
    """At any byte, and while the transcript grows."""
    chance = random.Random(7)
    task_id = upload(api, SAMPLE).json()["id"]
    whole, cut = Listener(api, task_id), Listener(api, task_id)
    connections = 0
    with whole.listening():
        while cut.connect(chance.choice([20, 100, 500, 2500]) * chance.random()) == 200:
            connections += 1
    assert connections > 30
    assert_sound(whole, "completed")
    assert_sound(cut, "completed")
    assert cut.segments == whole.segments
    result = api.get(f"{TASKS}/{task_id}/result").json()
    shown = [
        {key: segment[key] for key in ("id", "start", "end", "text")}
        for segment in result["segments"]
    ]
    assert cut.segments == shown
    assert cut.events[-1].data == api.get(f"{TASKS}/{task_id}").json()
    # Some came before the end: of five chunks, the last is not awaited.
    first = whole.types.index("segment")
    assert "status" in whole.types[first:]


def test_who_comes_late_hears_it_all(api: httpx.Client, short_wav: Path) -> None:
    task_id = upload(api, short_wav).json()["id"]
    task = wait_for_end(api, task_id)
    late = heard_to_the_end(api, task_id)
    assert_sound(late, "completed")
    assert set(late.types) == {"segment", "completed"}
    text = " ".join(segment["text"] for segment in late.segments)
    assert text == api.get(f"{TASKS}/{task_id}/result").json()["text"]
    assert late.events[-1].data == task
    assert late.connect() == 204


def test_a_recording_without_speech(api: httpx.Client, tmp_path: Path) -> None:
    write_wav(tmp_path / "silence.wav", np.zeros(3 * 16000))
    task_id = upload(api, tmp_path / "silence.wav").json()["id"]
    listener = heard_to_the_end(api, task_id)
    assert_sound(listener, "completed")
    assert listener.segments == []


def test_a_task_that_fails_and_is_tried_again(
    api: httpx.Client, stack: Stack, short_wav: Path
) -> None:
    needs_folder(stack)
    task_id = upload(api, short_wav).json()["id"]
    api.post(f"{TASKS}/{task_id}/cancel").raise_for_status()
    source = stack.data_dir / "objects" / "jobs" / task_id / "source"
    source.unlink()
    api.post(f"{TASKS}/{task_id}/retry").raise_for_status()
    listener = heard_to_the_end(api, task_id)
    assert_sound(listener, "failed")
    assert listener.events[-1].data["error"]["code"] == "object_not_found"
    assert listener.connect() == 204
    source.parent.mkdir(exist_ok=True)
    source.write_bytes(short_wav.read_bytes())
    api.post(f"{TASKS}/{task_id}/retry").raise_for_status()
    assert listener.connect() == 200
    assert (listener.types.count("failed"), listener.types[-1]) == (1, "completed")
    text = " ".join(segment["text"] for segment in listener.segments)
    assert text == api.get(f"{TASKS}/{task_id}/result").json()["text"]


def test_looking_for_speakers_again(api: httpx.Client, short_wav: Path) -> None:
    task_id = upload(api, short_wav).json()["id"]
    listener = heard_to_the_end(api, task_id)
    segments = listener.segments
    api.post(f"{TASKS}/{task_id}/rediarize").raise_for_status()
    assert listener.connect() == 200
    assert (listener.types.count("completed"), listener.types[-1]) == (2, "completed")
    assert listener.segments == segments
    assert listener.connect() == 204


# On an API whose tasks only we work on, with a MongoDB that can be taken away


@pytest.fixture(scope="module")
def mongodb(servers_alone: dict[str, str]) -> Iterator[Proxy]:
    proxy = Proxy(servers_alone["MONGODB_URL"].removeprefix("mongodb://"))
    yield proxy
    proxy.close()


@pytest.fixture(scope="module")
def alone(servers_alone: dict[str, str], mongodb: Proxy) -> Iterator[httpx.Client]:
    changes = {
        "MONGODB_URL": f"mongodb://{mongodb.address}",
        "MONGODB_TIMEOUT_MS": "1000",
        "MAX_WAITING_REQUESTS": str(MOST_WAITING),
    }
    with api_process(servers_alone, **changes) as client:
        yield client


@pytest.fixture
def consumers(servers_alone: dict[str, str]) -> MakeConsumers:
    database = Settings.model_fields["mongodb_database"].default
    return lambda task_id: Consumers(servers_alone["MONGODB_URL"], database, task_id)


def test_another_process_goes_on_where_one_was_stopped(
    servers_alone: dict[str, str], alone: httpx.Client, short_wav: Path, consumers: MakeConsumers
) -> None:
    """One that is told to stop ends its streams properly, and does not wait for them."""
    task_id = upload(alone, short_wav).json()["id"]
    work = consumers(task_id)
    work.cut(3)
    work.finish(1)
    work.finish(0)
    with ExitStack() as processes:
        url = processes.enter_context(api_process(servers_alone)).base_url
        with httpx.Client(base_url=url, timeout=60) as first:
            listener = Listener(first, task_id)
            with listener.listening():
                wait_until(lambda: len(listener.segments) == 2)
                processes.close()
    assert listener.events[-1].type == "segment"
    work.finish(2)
    work.complete()
    listener.api = alone
    assert listener.connect() == 200
    assert_sound(listener, "completed")
    assert [segment["text"] for segment in listener.segments] == ["w0", "w1", "w2"]
    assert [segment["start"] for segment in listener.segments] == [1.0, 11.0, 21.0]


def test_a_stream_outlasts_an_outage_of_the_database(
    alone: httpx.Client, mongodb: Proxy, short_wav: Path, consumers: MakeConsumers
) -> None:
    task_id = upload(alone, short_wav).json()["id"]
    work = consumers(task_id)
    work.cut(2)
    listener = Listener(alone, task_id)
    with listener.listening():
        work.finish(0)
        wait_until(lambda: len(listener.segments) == 1)
        with mongodb.behaving("away"):
            wait_until(lambda: alone.get(f"{TASKS}/{task_id}").status_code == 503)
            refused(alone.get(path_of(task_id)), 503, "database_unavailable")
            work.finish(1)
            work.complete()
    assert_sound(listener, "completed")
    assert len(listener.segments) == 2


@pytest.mark.parametrize(("action", "end"), [("POST", "cancelled"), ("DELETE", "deleted")])
def test_a_task_that_is_ended_by_its_owner(
    alone: httpx.Client, short_wav: Path, action: str, end: str
) -> None:
    task_id = upload(alone, short_wav).json()["id"]
    listener = Listener(alone, task_id)
    with listener.listening():
        wait_until(lambda: listener.types == ["status"])
        path = f"{TASKS}/{task_id}"
        alone.request(action, path if action == "DELETE" else f"{path}/cancel").raise_for_status()
    # Deleting cancels first, which may be seen.
    assert listener.types[1:] in ([end], ["cancelled"])
    assert listener.connect() == (404 if action == "DELETE" else 204)


def test_the_head_of_the_answer(alone: httpx.Client, short_wav: Path) -> None:
    """It is neither kept nor held back by anything between."""
    task_id = upload(alone, short_wav).json()["id"]
    with alone.stream("GET", path_of(task_id)) as answer:
        assert answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Accel-Buffering"] == "no"
        assert next(answer.iter_lines()).startswith("retry: ")


def test_whoever_goes_away_makes_room(alone: httpx.Client, short_wav: Path) -> None:
    task_id = upload(alone, short_wav).json()["id"]

    def status() -> int:
        with alone.stream("GET", path_of(task_id)) as answer:
            return answer.status_code

    wait_until(lambda: status() == 200)  # those of other tests have gone
    held = [alone.stream("GET", path_of(task_id)) for _ in range(MOST_WAITING)]
    for stream in held:
        assert stream.__enter__().status_code == 200
    body = refused(alone.get(path_of(task_id)), 429, "too_many_waiting")
    assert body["details"]["limit"] == MOST_WAITING
    for stream in held:
        stream.__exit__(None, None, None)
    wait_until(lambda: status() == 200)


def test_what_cannot_be_listened_to(alone: httpx.Client, short_wav: Path) -> None:
    refused(alone.get(path_of(uuid.uuid4().hex)), 404, "task_not_found")
    task_id, other = (upload(alone, short_wav).json()["id"] for _ in range(2))
    alone.post(f"{TASKS}/{other}/cancel").raise_for_status()
    of_another = heard_to_the_end(alone, other).events[-1].id
    for event_id in ("7", of_another, "x" * 150):
        answer = alone.get(path_of(task_id), headers={"Last-Event-ID": event_id})
        refused(answer, 422, "invalid_event_id")
