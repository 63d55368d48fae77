"""Which unit of work each step becomes, where it waits, and who is woken for it."""

from __future__ import annotations

import asyncio
import importlib
from datetime import timedelta

import pytest

from core.clock import utc_now
from core.messaging import DIARIZATION_QUEUE, SHORT_QUEUE, SPEECH_QUEUE
from repositories.models import DiarizationModel, JobModel, Stage, UnitKind
from services.dispatcher import HANDLER, SERVED, Dispatcher
from tests.services.support import JOB, claimed, stored, unit_ids

HOUR = 3600.0


@pytest.fixture
def dispatcher(parts) -> Dispatcher:
    return parts.dispatcher


@pytest.fixture
def without_redis(parts, away) -> Dispatcher:
    return Dispatcher(parts.settings, parts.units, away)


async def a_job(parts, seconds: float = HOUR, job_id: str = JOB) -> JobModel:
    asked = DiarizationModel(revision=3)
    return await stored(parts, job_id, duration=seconds, diarization=asked, stage=Stage.TRANSCRIBE)


@pytest.mark.parametrize(
    ("seconds", "lane"), [(HOUR, SPEECH_QUEUE), (121, SPEECH_QUEUE), (120, SHORT_QUEUE)]
)
async def test_each_step_is_a_unit_in_the_line_of_its_consumers(parts, dispatcher, seconds, lane):
    job = await a_job(parts, seconds)
    await dispatcher.prepare(job)
    await dispatcher.transcribe(job, [4, 5])
    await dispatcher.diarize(job)
    await dispatcher.merge(job)
    found = {unit.kind: unit for unit in await parts.units.get_units(JOB)}
    assert {kind: (unit.id, unit.queue) for kind, unit in found.items()} == {
        UnitKind.PREPARE: (f"{JOB}-prepare", lane),
        UnitKind.TRANSCRIBE: (f"{JOB}-transcribe-4", lane),
        UnitKind.DIARIZE: (f"{JOB}-diarize-3", DIARIZATION_QUEUE),
        UnitKind.MERGE: (f"{JOB}-merge-1-3", lane),
    }
    assert found[UnitKind.TRANSCRIBE].chunks == [4, 5]
    assert found[UnitKind.DIARIZE].revision == 3
    assert found[UnitKind.MERGE].cost_seconds == 0, "it comes first"
    assert found[UnitKind.DIARIZE].cost_seconds == seconds


async def test_a_recording_of_unknown_length_is_not_a_short_one(parts, dispatcher):
    job = await a_job(parts, None)
    await dispatcher.prepare(job)
    (unit,) = await parts.units.get_units(JOB)
    assert unit.queue == SPEECH_QUEUE


async def test_time_limits_fit_what_is_to_be_done(parts, dispatcher, queues):
    job = await a_job(parts, parts.settings.max_duration_seconds)
    await dispatcher.diarize(job)
    await dispatcher.transcribe(job, [0, 1, 2, 3])
    limits = {unit.kind: unit.timeout_seconds for unit in await parts.units.get_units(JOB)}
    # The largest public pipelines take 1.7 times the recording's duration.
    assert limits[UnitKind.DIARIZE] >= 1.7 * parts.settings.max_duration_seconds
    assert limits[UnitKind.TRANSCRIBE] >= 4 * parts.settings.chunk_timeout_seconds
    assert min(call.timeout_seconds for call in queues.all()) > max(limits.values())


@pytest.mark.parametrize(
    ("consumers", "sizes"), [(0, [4, 4, 1]), (1, [4, 4, 1]), (3, [3, 3, 3]), (20, [1] * 9)]
)
async def test_batches_are_spread_over_the_consumers(parts, dispatcher, register, consumers, sizes):
    register(*[SPEECH_QUEUE] * consumers)
    await dispatcher.transcribe(await a_job(parts), range(9))
    units = sorted(await parts.units.get_units(JOB), key=lambda unit: unit.chunks)
    assert [len(unit.chunks) for unit in units] == sizes
    assert sum((unit.chunks for unit in units), []) == list(range(9))


async def test_a_message_names_no_work_only_where_there_is_some(parts, dispatcher, queues):
    await dispatcher.merge(await a_job(parts))
    (call,) = queues.all()
    assert (call.id, call.queue) == (f"speech-{JOB}-merge-1-3-0", SPEECH_QUEUE)
    assert (call.function, call.arguments) == (HANDLER, [SPEECH_QUEUE])
    module, _, name = HANDLER.rpartition(".")
    assert callable(getattr(importlib.import_module(module), name))


async def test_asking_often_wakes_once(parts, dispatcher, queues):
    job = await a_job(parts)
    await asyncio.gather(*(dispatcher.diarize(job) for _ in range(10)))
    assert queues.ids() == [f"diarization-{JOB}-diarize-3-0"]
    assert await unit_ids(parts) == ["diarize-3"]


async def test_nobody_is_woken_for_what_is_being_done(parts, dispatcher, queues, redis_client):
    job = await a_job(parts)
    await dispatcher.diarize(job)
    await claimed(parts, UnitKind.DIARIZE)
    redis_client.flushdb()
    await dispatcher.diarize(job)
    assert queues.ids() == []


async def test_a_unit_that_is_given_back_wakes_with_a_message_of_its_own(parts, dispatcher, queues):
    await dispatcher.diarize(await a_job(parts))
    unit = await claimed(parts, UnitKind.DIARIZE)
    await parts.units.release(unit)
    await dispatcher.wake([unit])
    assert queues.ids() == [f"diarization-{JOB}-diarize-3-{attempt}" for attempt in (0, 1)]


async def test_short_recordings_wake_those_who_do_nothing_else_where_there_are_any(
    parts, dispatcher, queues, register
):
    await dispatcher.prepare(await a_job(parts, 60.0))
    assert [call.queue for call in queues.all()] == [SPEECH_QUEUE]
    register(SHORT_QUEUE)
    await dispatcher.prepare(await a_job(parts, 60.0, "job-2"))
    await dispatcher.prepare(await a_job(parts, HOUR, "long"))
    found = [(call.queue, call.arguments) for call in queues.all() if "job-2" in call.id]
    assert found == [(SPEECH_QUEUE, [SPEECH_QUEUE]), (SHORT_QUEUE, [SHORT_QUEUE])]
    assert [call.queue for call in queues.all() if "long" in call.id] == [SPEECH_QUEUE]


async def test_who_does_only_short_recordings_is_never_given_others(parts, dispatcher):
    await dispatcher.prepare(await a_job(parts, HOUR, "long"))
    assert await parts.units.claim(SERVED[SHORT_QUEUE], 60) is None
    await dispatcher.prepare(await a_job(parts, 60.0, "note"))
    for queue in (SHORT_QUEUE, SPEECH_QUEUE):
        unit = await parts.units.claim(SERVED[queue], 60)
        assert unit.id == "note-prepare", "speech consumers prefer it too"
        await parts.units.release(unit)


async def test_while_redis_is_away_the_work_waits(parts, without_redis):
    job = await a_job(parts)
    await without_redis.transcribe(job, range(4))
    await without_redis.wake_for_waiting()
    assert await unit_ids(parts) == ["transcribe-0"]


async def test_messages_that_were_lost_are_sent_again(parts, dispatcher, queues, redis_client):
    job = await a_job(parts)
    await dispatcher.transcribe(job, range(8))
    await dispatcher.diarize(job)
    redis_client.flushdb()
    await dispatcher.wake_for_waiting()
    found = [(call.queue, call.arguments) for call in queues.all()]
    assert found == [(SPEECH_QUEUE, [SPEECH_QUEUE])] * 2 + [
        (DIARIZATION_QUEUE, [DIARIZATION_QUEUE])
    ]


async def test_while_a_message_is_on_its_way_none_is_sent_again(parts, dispatcher, queues):
    await dispatcher.merge(await a_job(parts))
    before = queues.ids()
    await dispatcher.wake_for_waiting()
    assert queues.ids() == before


async def test_a_message_sent_again_has_another_id(parts, dispatcher, queues, redis_client):
    """The first may be held by a consumer that was killed, as RQ sees it still running."""
    await dispatcher.merge(await a_job(parts))
    first = queues.ids()
    redis_client.flushdb()
    await dispatcher.wake_for_waiting()
    assert len(queues.ids()) == 1
    assert queues.ids() != first


async def test_nobody_is_woken_for_what_is_not_due(parts, dispatcher, queues, redis_client):
    await dispatcher.merge(await a_job(parts))
    unit = await claimed(parts, UnitKind.MERGE)
    redis_client.flushdb()
    await dispatcher.wake_for_waiting()
    await parts.units.release(unit, not_before=utc_now() + timedelta(hours=1))
    await dispatcher.wake_for_waiting()
    assert queues.ids() == []


async def test_consumers_of_a_long_line_are_woken_a_few_at_a_time(
    parts, dispatcher, queues, redis_client
):
    await dispatcher.transcribe(await a_job(parts), range(400))
    redis_client.flushdb()
    await dispatcher.wake_for_waiting()
    assert 2 <= len(queues.ids()) <= 32
