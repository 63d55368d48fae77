"""Which call a stage becomes, and on which queue it waits."""

from __future__ import annotations

import asyncio

import pytest

from core.messaging import DIARIZATION_QUEUE, SPEECH_QUEUE
from internal.consumer.handlers import stages
from repositories.models import Stage
from services.dispatcher import HANDLERS, Dispatcher


@pytest.fixture
def dispatcher(parts) -> Dispatcher:
    return Dispatcher(parts.settings, parts.queue)


@pytest.mark.parametrize(
    ("stage", "unit", "attempt", "queue", "job_id", "arguments"),
    [
        (Stage.PREPARE, [], 1, SPEECH_QUEUE, "j-prepare-0-1", ["j", 1]),
        (Stage.TRANSCRIBE, [4, 5], 2, SPEECH_QUEUE, "j-transcribe-4-2", ["j", 2, [4, 5]]),
        (Stage.DIARIZE, [1], 1, DIARIZATION_QUEUE, "j-diarize-1-1", ["j", 1, [1]]),
        (Stage.DIARIZE, [7], 3, DIARIZATION_QUEUE, "j-diarize-7-3", ["j", 3, [7]]),
        (Stage.MERGE, [], 1, SPEECH_QUEUE, "j-merge-0-1", ["j", 1]),
        (Stage.MERGE, [3], 2, SPEECH_QUEUE, "j-merge-3-2", ["j", 2, [3]]),
    ],
)
async def test_stage_becomes_a_call_on_the_queue_of_its_consumers(
    dispatcher, queues, stage, unit, attempt, queue, job_id, arguments
):
    await dispatcher.dispatch("j", stage, unit, attempt=attempt)
    (call,) = queues.all()
    assert (call.queue, call.id, call.arguments) == (queue, job_id, arguments)
    assert call.function == stage.value
    assert callable(getattr(stages, call.function))
    assert stages.__name__ == HANDLERS
    assert not call.is_delayed


async def test_each_diarization_is_queued_once(dispatcher, queues):
    await asyncio.gather(*(dispatcher.dispatch("j", Stage.DIARIZE, [1]) for _ in range(10)))
    await dispatcher.dispatch("j", Stage.DIARIZE, [2])
    await dispatcher.dispatch("k", Stage.DIARIZE, [1])
    assert sorted(queues.ids()) == ["j-diarize-1-1", "j-diarize-2-1", "k-diarize-1-1"]


async def test_diarization_may_take_longer_than_the_longest_recording(dispatcher, queues, parts):
    await dispatcher.dispatch("j", Stage.DIARIZE, [1])
    (call,) = queues.all()
    # The largest public pipelines take 1.7 times the recording's duration.
    assert call.timeout_seconds >= 1.7 * parts.settings.max_duration_seconds


@pytest.mark.parametrize(("attempt", "pause_seconds"), [(1, (1, 3)), (2, (2, 6))])
async def test_another_attempt_at_a_diarization_waits_on_its_queue(
    dispatcher, queues, redis_client, attempt, pause_seconds
):
    assert await dispatcher.dispatch_retry("j", Stage.DIARIZE, [3], after_attempt=attempt)
    (call,) = queues.all()
    assert call.queue == DIARIZATION_QUEUE
    assert call.id == f"j-diarize-3-{attempt + 1}"
    assert call.arguments == ["j", attempt + 1, [3]]
    assert call.is_delayed
    due = redis_client.zscore(f"rq:scheduled:{DIARIZATION_QUEUE}", call.id)
    now = int(redis_client.time()[0])
    assert pause_seconds[0] - 2 <= due - now <= pause_seconds[1] + 1


async def test_there_are_enough_attempts_some_time(dispatcher, queues, parts):
    last = parts.settings.job_max_attempts
    assert not await dispatcher.dispatch_retry("j", Stage.DIARIZE, [3], after_attempt=last)
    assert queues.ids() == []
