"""A task's events, derived from the database: complete, in order and once, wherever one resumes."""

from __future__ import annotations

import asyncio
import itertools
import random
from contextlib import aclosing

import pytest

from core.errors import DatabaseUnavailable, InvalidInput, NotFound, TransientError
from internal.api.routes import events as route
from repositories.models import (
    ChunkResult,
    ChunkStatus,
    DiarizationModel,
    DiarizationState,
    JobModel,
    JobOptions,
    JobStatus,
    JobUpdate,
    Progress,
    Stage,
)
from services.event_service import EventService, TaskEvent
from services.reuse_service import ReuseService
from services.speaker_service import RequestedSpeakers
from tests.services.support import CRASHED, JOB, TEXTS, US, completed, finish_chunks, store_chunks
from tests.services.support import stored as stored_job

PENDING, DONE, FAILED = ChunkStatus.PENDING, ChunkStatus.DONE, ChunkStatus.FAILED
OWNER = "ann"


@pytest.fixture
def anew(parts):
    """Return a function that makes the service of another process."""
    return lambda: EventService(parts.jobs, parts.chunks, parts.tasks)


async def stored(parts, chunks, **fields):
    await store_chunks(parts, chunks)
    return await stored_job(parts, **{"duration": 10.0 * len(chunks), "diarization": None} | fields)


async def heard_of(events: EventService, last: str | None = None) -> list[TaskEvent]:
    """Everything to the end."""
    return [event async for event in events.follow(OWNER, JOB, last)]


async def first_of(events: EventService, count: int, last: str | None = None) -> list[TaskEvent]:
    """So many events; then the client goes away."""
    async with aclosing(events.follow(OWNER, JOB, last)) as stream:
        return [await anext(stream) for _ in range(count)]


def types_of(events):
    return [event.type for event in events]


def segments_of(events):
    return [event.data for event in events if event.type == "segment"]


def expected(chunks, numbers=None):
    """What `support` puts into chunks with these indexes."""
    return [
        {"id": number, "start": 10.0 * chunk + 1, "end": 10.0 * chunk + 2.5,
         "text": " ".join(TEXTS[chunk % 2])}
        for number, chunk in zip(numbers or itertools.count(), chunks, strict=False)
    ]  # fmt: skip


async def settle(parts, *indexes):
    await finish_chunks(parts, *indexes)
    job = JobModel.from_dict(await parts.database.get_collection("jobs").find_one({"_id": JOB}))
    for _ in indexes:
        await parts.jobs.add_chunk_done(job)


async def end(parts, status, **update):
    assert await parts.jobs.update_status(
        JOB, status, allowed_from={JobStatus.PENDING, JobStatus.PROCESSING},
        update=JobUpdate(**update),
    )  # fmt: skip


async def test_segments_come_as_far_as_everything_before_them_is_there(parts):
    await stored(parts, [PENDING] * 3)
    async with aclosing(parts.events.follow(OWNER, JOB)) as stream:
        status = await anext(stream)
        assert (status.type, status.status.job.stage) == ("status", Stage.TRANSCRIBE)
        await settle(parts, 1)
        status = await anext(stream)
        assert (status.type, status.status.job.progress.chunks_done) == ("status", 1)
        await settle(parts, 0)
        found = [await anext(stream) for _ in range(3)]
        assert sorted(types_of(found)) == ["segment", "segment", "status"]
        assert segments_of(found) == expected([0, 1])
        await settle(parts, 2)
        await end(parts, JobStatus.COMPLETED, stage=Stage.DONE)
        rest = [event async for event in stream]
    assert segments_of(rest) == expected([2], [2])
    assert rest[-1].type == "completed"
    assert rest[-1].status.percent == 100


@pytest.mark.parametrize("seed", range(5))
async def test_whoever_comes_back_gets_what_is_new(parts, anew, seed):
    """However chunks are finished, wherever clients are cut off, and whoever answers them then."""
    chance = random.Random(seed)
    count = 6
    await stored(parts, [PENDING] * count, progress=Progress(chunks_total=count))
    order = chance.sample(range(count), count)

    async def work() -> None:
        for index in order:
            await settle(parts, index)
            await asyncio.sleep(chance.choice([0, 0.1]))
        await end(parts, JobStatus.COMPLETED, stage=Stage.DONE)

    working = asyncio.create_task(work())
    got: list[TaskEvent] = []
    while not got or got[-1].type != "completed":
        last = got[-1].id if got else None
        assert await anew().has_more(OWNER, JOB, last)
        got += await first_of(anew(), 1, last)
    await working
    assert not await anew().has_more(OWNER, JOB, got[-1].id)
    assert segments_of(got) == expected(range(count))
    assert len({event.id for event in got}) == len(got)
    assert types_of(got).count("completed") == 1
    told = [
        (job.status, job.stage, job.progress.chunks_done)
        for job in (event.status.job for event in got if event.status)
    ]
    assert len(set(told)) == len(told)


async def test_a_task_that_ended_before_anybody_listened(parts):
    await completed(parts)
    events = await heard_of(parts.events)
    assert types_of(events) == ["segment", "segment", "completed"]
    assert segments_of(events) == expected([0, 1])
    for at, event in enumerate(events):
        rest = await heard_of(parts.events, event.id)
        assert [(e.id, e.data) for e in rest] == [(e.id, e.data) for e in events[at + 1 :]]


async def test_a_long_recording_is_read_bit_by_bit(parts):
    count = 230
    await completed(parts)
    await parts.chunks.delete_chunks(JOB)
    await store_chunks(parts, [DONE] * count)
    await parts.jobs.update_job(JOB, JobUpdate(duration=10.0 * count))
    events = await heard_of(parts.events)
    assert segments_of(events) == expected(range(count))
    rest = await heard_of(parts.events, events[150].id)
    assert [event.id for event in rest] == [event.id for event in events[151:]]


@pytest.mark.parametrize(
    ("status", "fields"),
    [(JobStatus.FAILED, {"error": CRASHED}), (JobStatus.CANCELLED, {})],
)
async def test_other_ends(parts, status, fields):
    """What is there up to the first open chunk comes with them."""
    await stored(parts, [DONE, PENDING, DONE])
    started = await first_of(parts.events, 2)
    await end(parts, status, **fields)
    rest = await heard_of(parts.events, started[-1].id)
    assert types_of(started + rest) == ["status", "segment", status.value]
    assert rest[-1].status.job.error == fields.get("error")
    assert not await parts.events.has_more(OWNER, JOB, rest[-1].id)
    # A consumer that has not noticed yet.
    await parts.jobs.add_chunk_done(await parts.jobs.get_job(JOB))
    assert not await parts.events.has_more(OWNER, JOB, rest[-1].id)


async def test_a_task_that_is_deleted_meanwhile(parts):
    await stored(parts, [DONE, PENDING])
    async with aclosing(parts.events.follow(OWNER, JOB)) as stream:
        assert (await anext(stream)).type == "status"
        assert (await anext(stream)).type == "segment"
        await parts.jobs.delete_job(JOB)
        rest = [event async for event in stream]
    assert types_of(rest) == ["deleted"]
    with pytest.raises(NotFound):
        await parts.events.has_more(OWNER, JOB, rest[-1].id)


async def test_a_gap_is_no_segment_and_its_retry_sends_what_follows_it_anew(parts, anew):
    await stored(parts, [DONE, DONE, FAILED, DONE], result=None)
    await end(parts, JobStatus.COMPLETED, stage=Stage.DONE)
    first = await heard_of(parts.events)
    assert segments_of(first) == expected([0, 1, 3])
    assert await parts.chunks.reopen_failed(JOB) == 1
    assert await parts.jobs.update_status(
        JOB, JobStatus.PENDING, allowed_from={JobStatus.COMPLETED},
        update=JobUpdate(attempt=2, stage=Stage.PREPARE),
    )  # fmt: skip
    assert await anew().has_more(OWNER, JOB, first[-1].id)
    async with aclosing(anew().follow(OWNER, JOB, first[-1].id)) as stream:
        begun = await anext(stream)
        assert (begun.type, begun.status.job.attempt) == ("status", 2)
        await end(parts, JobStatus.PROCESSING, stage=Stage.TRANSCRIBE)
        assert (await anext(stream)).type == "status"
        await settle(parts, 2)
        await end(parts, JobStatus.COMPLETED, stage=Stage.DONE)
        rest = [event async for event in stream]
    assert segments_of(rest) == expected([2, 3], [2, 3])
    assert rest[-1].type == "completed"
    # Also for whoever was cut off behind the gap, and for whoever had nothing of it.
    assert segments_of(await heard_of(anew(), first[2].id)) == expected([2, 3], [2, 3])
    assert segments_of(await heard_of(anew(), first[0].id)) == expected([1, 2, 3], [1, 2, 3])
    assert segments_of(await heard_of(anew())) == expected(range(4))


async def test_a_retry_that_nobody_saw_begin(parts):
    await stored(parts, [DONE, FAILED, DONE, PENDING])
    async with aclosing(parts.events.follow(OWNER, JOB)) as stream:
        first = [await anext(stream) for _ in range(3)]
        assert segments_of(first) == expected([0, 2])
        await parts.tasks.cancel_task(OWNER, JOB)
        await parts.tasks.retry_task(OWNER, JOB)
        await settle(parts, 1, 3)
        await end(parts, JobStatus.COMPLETED, stage=Stage.DONE)
        rest = [event async for event in stream]
    assert segments_of(rest) == expected([1, 2, 3], [1, 2, 3])


async def test_a_word_on_a_cut_comes_after_the_one_before_it(parts):
    await stored(parts, [PENDING, PENDING])
    heard = {0: (9.0, 10.9), 1: (0.6, 1.5)}  # the second chunk begins at 9 s
    await parts.database.get_collection("chunks").update_many({}, {"$set": {"end": 11.0}})
    second = {"_id": f"{JOB}:1"}
    await parts.database.get_collection("chunks").update_one(
        second, {"$set": {"start": 9.0, "end": 20.0}}
    )
    for chunk in await parts.chunks.claim(JOB, [0, 1], US):
        start, until = heard[chunk.index]
        word = {"word": "word", "start": start, "end": until, "confidence": 0.9}
        segment = {**word, "text": "word", "words": [word]}
        del segment["word"]
        assert await parts.chunks.commit(chunk, ChunkResult(language="en", segments=[segment]))
    await end(parts, JobStatus.COMPLETED, stage=Stage.DONE)
    events = await heard_of(parts.events)
    times = [(segment["start"], segment["end"]) for segment in segments_of(events)]
    assert times == [(9.0, 10.9), (10.9, 10.9)]
    assert segments_of(await heard_of(parts.events, events[0].id)) == segments_of(events)[1:]


async def test_a_retry_goes_on_after_what_was_done(parts, anew):
    await stored(parts, [DONE, PENDING])
    await end(parts, JobStatus.CANCELLED)
    first = await heard_of(parts.events)
    await parts.tasks.retry_task(OWNER, JOB)
    await end(parts, JobStatus.PROCESSING, stage=Stage.TRANSCRIBE)
    await settle(parts, 1)
    await end(parts, JobStatus.COMPLETED, stage=Stage.DONE)
    rest = await heard_of(anew(), first[-1].id)
    assert types_of(rest) == ["segment", "completed"]
    assert segments_of(first + rest) == expected([0, 1])


async def test_looking_for_speakers_again_has_an_end_of_its_own(parts):
    await completed(parts, diarization=DiarizationModel(state=DiarizationState.DONE))
    first = await heard_of(parts.events)
    await parts.speakers.rediarize(OWNER, JOB, RequestedSpeakers())
    again = await first_of(parts.events, 1, first[-1].id)
    assert again[0].status.job.stage is Stage.DIARIZE
    assert await parts.jobs.settle_diarization(JOB, 2, DiarizationState.DONE)
    await end(parts, JobStatus.COMPLETED, stage=Stage.DONE)
    rest = await heard_of(parts.events, again[-1].id)
    assert types_of(rest) == ["completed"]
    assert types_of(await heard_of(parts.events, first[-1].id)) == ["completed"]
    assert not await parts.events.has_more(OWNER, JOB, rest[-1].id)
    assert types_of(await heard_of(parts.events)) == ["segment", "segment", "completed"]


async def test_progress_of_the_speakers_is_told(parts):
    await stored(parts, [DONE], diarization=DiarizationModel())
    started = await first_of(parts.events, 2)
    await parts.jobs.record_diarization_progress(JOB, 1, 0.5)
    (event,) = await first_of(parts.events, 1, started[-1].id)
    assert (event.type, event.status.job.diarization.progress) == ("status", 0.5)


async def test_a_transcript_that_was_taken_over(parts):
    before = await completed(parts, options=JobOptions(model="demo-en"), diarization=None)
    create = before.model_copy(update={"id": "again"})
    reuse = ReuseService(parts.settings, parts.jobs, parts.chunks, parts.store)
    assert await reuse.finished(type(before).__bases__[0](**create.model_dump())) is not None
    events = [event async for event in parts.events.follow(OWNER, "again")]
    assert segments_of(events) == expected([0, 1])
    assert (events[-1].type, events[-1].status.job.reused_from) == ("completed", JOB)


async def test_a_task_that_ended_while_it_was_cut(parts):
    """Its chunks may have been written down only in part."""
    await stored(parts, [DONE, DONE, DONE], stage=Stage.PREPARE, duration=None)
    await end(parts, JobStatus.CANCELLED)
    assert types_of(await heard_of(parts.events)) == ["cancelled"]


async def test_a_task_that_is_just_being_deleted(parts):
    await stored(parts, [DONE, DONE, DONE])
    await end(parts, JobStatus.CANCELLED)
    await parts.database.get_collection("chunks").delete_one({"_id": f"{JOB}:1"})
    assert segments_of(await heard_of(parts.events)) == expected([0])


async def test_an_outage_of_the_database_is_waited_for(parts, monkeypatch):
    await stored(parts, [DONE, PENDING])
    async with aclosing(parts.events.follow(OWNER, JOB)) as stream:
        assert (await anext(stream)).type == "status"
        get_job, outages = parts.jobs.get_job, iter(range(3))

        async def away_at_first(*arguments):
            if next(outages, None) is not None:
                raise DatabaseUnavailable("MongoDB cannot be reached.")
            return await get_job(*arguments)

        monkeypatch.setattr(parts.jobs, "get_job", away_at_first)
        assert (await anext(stream)).type == "segment"
        await settle(parts, 1)
        await end(parts, JobStatus.COMPLETED, stage=Stage.DONE)
        rest = [event async for event in stream]
    assert segments_of(rest) == expected([1], [1])
    assert next(outages, None) is None


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
async def test_waiting_for_the_end(parts, status):
    await stored(parts, [PENDING])
    waiting = asyncio.create_task(parts.events.wait_until_ended(OWNER, JOB))
    await asyncio.sleep(0)
    assert not waiting.done()
    await end(parts, JobStatus(status))
    assert (await waiting).status == status


async def test_waiting_for_a_task_that_is_deleted(parts):
    await stored(parts, [PENDING])
    waiting = asyncio.create_task(parts.events.wait_until_ended(OWNER, JOB))
    await asyncio.sleep(0)
    await parts.jobs.delete_job(JOB)
    with pytest.raises(NotFound):
        await waiting


async def test_whoever_waits_is_sent_away_when_the_process_stops(parts):
    await stored(parts, [PENDING])
    waiting = asyncio.create_task(parts.events.wait_until_ended(OWNER, JOB))
    async with aclosing(parts.events.follow(OWNER, JOB)) as stream:
        await anext(stream)
        parts.events.stop()
        with pytest.raises(TransientError) as stopped:
            await anext(stream)
    assert stopped.value.error_code == "server_stopping"
    with pytest.raises(TransientError):
        await waiting


async def test_tasks_of_others_do_not_exist(parts):
    await stored(parts, [DONE])
    (event,) = await first_of(parts.events, 1)
    for waits in (
        parts.events.has_more("bo", JOB, event.id),
        parts.events.wait_until_ended("bo", JOB),
        anext(parts.events.follow("bo", JOB, event.id)),
    ):
        with pytest.raises(NotFound):
            await waits


@pytest.mark.parametrize(
    "event_id",
    ["x", "1", JOB, f"{US}.1.0.0.0-pending", f"{JOB}.1.0.0", f"{JOB}.-1.0.0.x", "é" * 9,
     f"{JOB}.1.{'9' * 99}.0.x", f"{JOB}.1.0.0.x\n"],
)  # fmt: skip
async def test_ids_that_we_never_gave(parts, event_id):
    await stored(parts, [DONE])
    with pytest.raises(InvalidInput) as refused:
        await parts.events.has_more(OWNER, JOB, event_id)
    assert refused.value.error_code == "invalid_event_id"


async def test_a_stream_is_never_silent_for_long(parts, monkeypatch):
    """Proxies close connections on which nothing is said."""
    monkeypatch.setattr(route, "_KEEPALIVE_SECONDS", 0.1)
    await stored(parts, [PENDING])
    sent = b""
    async with aclosing(route.encode(parts.events, OWNER, JOB, None)) as stream:
        while sent.count(b"\n: ping\n\n") < 2:
            sent += await anext(stream)
    assert sent.count(b"event: ") == 1
