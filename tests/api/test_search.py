"""Searching transcripts over REST, on a real stack."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from core.config import Settings
from core.database import MongoDB
from repositories.models import JobCreate, JobOptions, JobStatus, Result, Source
from repositories.segment_repository import Indexed, Segment, SegmentRepository, place_of
from repositories.task_repository import TaskRepository
from tests.api.conftest import Guarded
from tests.api.support import TASKS, key_of, refused, wait_until
from tests.conftest import Stack, upload, wait_for_end

SEARCH = "/api/v1/search"
NAME = "Besprechung Zürich.wav"


def hits(api: httpx.Client, query: str, **options: str | int) -> list[dict]:
    response = api.get(SEARCH, params={"q": query} | options)
    assert response.status_code == 200, response.text
    return response.json()["hits"]


@pytest.fixture(scope="module")
def task(stack: Stack, short_wav: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A finished task that can be searched."""
    path = tmp_path_factory.mktemp("named") / NAME
    path.write_bytes(short_wav.read_bytes())
    with httpx.Client(base_url=stack.url, timeout=60) as api:
        task_id = upload(api, path, diarize="true").json()["id"]
        assert wait_for_end(api, task_id)["status"] == "completed"
        wait_until(lambda: bool(hits(api, "good morning", task_id=task_id)), 30)
        yield task_id
        api.delete(f"{TASKS}/{task_id}").raise_for_status()


def test_hits_agree_with_the_transcript(api: httpx.Client, task: str) -> None:
    transcript = api.get(f"{TASKS}/{task}/result").json()
    labels = {speaker["id"]: speaker["label"] for speaker in transcript["speakers"]} | {None: None}
    listed = api.get(f"{TASKS}/{task}").json()
    for segment in transcript["segments"]:
        found = hits(api, f'"{segment["text"]}"', task_id=task, limit=100)
        (hit,) = (hit for hit in found if hit["segment_id"] == segment["id"])
        for name in ("start", "end", "text", "speaker"):
            assert hit[name] == segment[name], name
        assert hit["speaker_label"] == labels[segment["speaker"]]
        assert (hit["task_id"], hit["file_name"]) == (task, NAME)
        assert hit["created_at"] == listed["created_at"]
        words = segment["words"]
        assert [hit["start"], hit["end"]] == [words[0]["start"], words[-1]["end"]]


def test_matches_are_where_the_words_are(api: httpx.Client, task: str) -> None:
    hit = hits(api, "MORNING göod", task_id=task)[0]
    assert [hit["text"][start:end] for start, end in hit["matches"]] == ["Good", "morning"]


def test_filters(api: httpx.Client, task: str) -> None:
    def is_found(**options: str) -> bool:
        return task in {hit["task_id"] for hit in hits(api, "good", limit=100, **options)}

    now = datetime.now(UTC)
    for options, expected in [
        ({"language": "en"}, True),
        ({"language": "de"}, False),
        ({"file_name": "zürich"}, True),
        ({"file_name": "Genf"}, False),
        ({"created_after": (now - timedelta(hours=1)).isoformat()}, True),
        ({"created_after": (now + timedelta(hours=1)).isoformat()}, False),
        ({"created_before": (now - timedelta(hours=1)).isoformat()}, False),
        ({"task_id": "0" * 32}, False),
        ({"speaker": "Nobody"}, False),
    ]:
        assert is_found(**options) == expected, options


def test_people_are_found_by_their_names(api: httpx.Client, task: str) -> None:
    speakers = api.get(f"{TASKS}/{task}/result").json()["speakers"]
    if not speakers:
        pytest.skip("there is no diarization pipeline here")
    first = speakers[0]["id"]
    names = {first: "Laura"}
    api.patch(f"{TASKS}/{task}/speakers", json=names).raise_for_status()
    found = hits(api, "good morning", task_id=task, speaker="laura")
    assert {(hit["speaker"], hit["speaker_label"]) for hit in found} == {(first, "Laura")}


def test_pages(api: httpx.Client, task: str) -> None:
    # Of one task: others come and go meanwhile.
    asked = {"q": "the", "task_id": task}
    whole = api.get(SEARCH, params=asked | {"limit": 100}).json()["hits"]
    assert len(whole) > 1
    paged, cursor = [], None
    while True:
        options = {"limit": 1} | ({"cursor": cursor} if cursor else {})
        body = api.get(SEARCH, params=asked | options).json()
        paged += body["hits"]
        if (cursor := body["next_cursor"]) is None:
            break
    assert paged == whole


def test_a_deleted_task_is_not_found(api: httpx.Client, short_wav: Path) -> None:
    task_id = upload(api, short_wav).json()["id"]
    wait_for_end(api, task_id)
    wait_until(lambda: bool(hits(api, "good morning", task_id=task_id)), 30)
    api.delete(f"{TASKS}/{task_id}").raise_for_status()
    assert hits(api, "good morning", task_id=task_id) == []
    assert task_id not in {hit["task_id"] for hit in hits(api, "good morning", limit=100)}


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({}, "invalid_option"),
        ({"q": ""}, "empty_query"),
        ({"q": "?!"}, "empty_query"),
        ({"q": "\x00"}, "empty_query"),
        ({"q": "x" * 201}, "query_too_long"),
        ({"q": "x", "cursor": "1.x"}, "invalid_cursor"),
        ({"q": "x", "limit": "0"}, "invalid_option"),
        ({"q": "x", "limit": "101"}, "invalid_option"),
        ({"q": "x", "created_after": "yesterday"}, "invalid_option"),
        ({"q": "x", "file_name": "a\x00b"}, "invalid_option"),
    ],
)
def test_what_cannot_be_searched_is_refused(api: httpx.Client, options: dict, code: str) -> None:
    refused(api.get(SEARCH, params=options), 422, code)


def test_odd_queries_find_nothing(api: httpx.Client, task: str) -> None:
    for query in ("$ne", "{'$gt': 'x'}", "g.*", "a\x00b", "🎙x", "2026-01-31"):
        assert hits(api, query, task_id=task) == [], query


def test_others_do_not_find_it(guarded: Guarded) -> None:
    asyncio.run(_say(guarded.environment["MONGODB_URL"], "alice", "The secret budget."))
    with (
        guarded.client(key_of(guarded.admin, "alice", "read")) as alice,
        guarded.client(key_of(guarded.admin, "bob", "read")) as bob,
    ):
        (hit,) = hits(alice, "secret")
        assert hits(bob, "secret") == []
        assert hits(bob, "secret", task_id=hit["task_id"]) == []
        assert hits(guarded.admin, "secret") == []
    with guarded.client() as nobody:
        assert nobody.get(SEARCH, params={"q": "secret"}).status_code == 401


async def _say(url: str, owner: str, text: str) -> None:
    """Let an owner have a transcript of one segment that can be searched."""
    database = MongoDB(Settings(_env_file=None, mongodb_url=url))
    await database.connect()
    key = f"jobs/{(job_id := uuid.uuid4().hex)}/transcript-v.json"
    create = JobCreate(
        id=job_id, owner=owner, options=JobOptions(model="demo-en"),
        source=Source(object="o", file_name="a.wav"),
    )  # fmt: skip
    result = Result(object=key, language="en", duration=1.0, segments=1, words=3)
    job = await TaskRepository(database).create_job(
        create, status=JobStatus.COMPLETED, result=result, indexed="v"
    )
    entry = Indexed(owner, job.id, "v", place_of(job.created_at, job.id))
    words = {word: [0] for word in ("the", "secret", "budget")}
    await SegmentRepository(database).add(entry, [Segment(0.0, 1.0, None, text)], words)
    await database.disconnect()
