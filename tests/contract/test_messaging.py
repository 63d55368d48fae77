"""The contract of `RedisQueueManager`, on a real Redis."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import AsyncIterator

import pytest
from rq import Queue, SimpleWorker, Worker
from rq.job import Job, JobStatus
from rq.serializers import JSONSerializer

from core.errors import Misconfigured, QueueUnavailable
from core.messaging import (
    QUEUES,
    SHORT_QUEUE,
    SPEECH_QUEUE,
    QueueStats,
    RedisQueueManager,
    get_queue_manager,
)

EMPTY = QueueStats(queued=0, started=0, failed=0, workers=0)
HOUR = 3600.0


@pytest.fixture
async def queue(make_settings, redis_server, redis_client) -> AsyncIterator[RedisQueueManager]:
    manager = get_queue_manager(make_settings(**redis_server))
    yield manager
    await manager.close()


@pytest.fixture
def rq_queue(redis_client) -> Queue:
    """RQ's own view of the queue."""
    return Queue(SPEECH_QUEUE, connection=redis_client, serializer=JSONSerializer)


@pytest.fixture
def no_pauses(monkeypatch) -> None:
    """Take the pauses between the client's attempts away."""
    monkeypatch.setattr("redis.retry.sleep", lambda seconds: None)


async def enqueue(queue: RedisQueueManager, function: str = "operator.add", *args, **options):
    options = {"job_id": "job-1", "timeout_seconds": HOUR} | options
    await queue.enqueue_job(SPEECH_QUEUE, function, *(args or (2, 3)), **options)


async def stats(queue: RedisQueueManager) -> QueueStats:
    return (await queue.get_queue_stats())[SPEECH_QUEUE]


def work_off(rq_queue: Queue) -> list:
    """Run what is queued, in this process, and return what came of it."""
    redis = rq_queue.connection
    worker = SimpleWorker([rq_queue], connection=redis, serializer=JSONSerializer)
    results = []
    while found := Queue.dequeue_any([rq_queue], None, redis, serializer=JSONSerializer):
        worker.execute_job(*found)
        results.append(found[0]._result)
    return results


async def test_queued_call_reaches_a_worker(queue, rq_queue):
    await enqueue(queue, "operator.concat", "Grüezi ", "🎙")
    assert await queue.get_job_status("job-1") == "queued"
    assert await stats(queue) == QueueStats(queued=1, started=0, failed=0, workers=0)
    done = work_off(rq_queue)
    assert done == ["Grüezi 🎙"]
    assert await stats(queue) == EMPTY


async def test_nothing_is_left_of_a_call_that_succeeded(queue, rq_queue, redis_client):
    """Of a million calls a day, a million records."""
    await enqueue(queue)
    work_off(rq_queue)
    assert await queue.get_job_status("job-1") is None
    assert not redis_client.keys("rq:job:*")
    assert not redis_client.keys("rq:results:*")


async def test_calls_are_taken_in_the_order_they_came(queue, rq_queue):
    for number in range(5):
        await enqueue(queue, job_id=f"job-{number}")
    assert rq_queue.job_ids == [f"job-{number}" for number in range(5)]


async def test_call_is_kept_as_json_with_its_limits(queue, redis_client):
    await enqueue(queue, "internal.none", "job", 1, [4, 5], timeout_seconds=90.5)
    stored = redis_client.hgetall("rq:job:job-1")
    assert json.loads(zlib.decompress(stored[b"data"])) == [
        "internal.none", None, ["job", 1, [4, 5]], {},
    ]  # fmt: skip
    assert int(stored[b"timeout"]) in (90, 91)
    assert int(stored[b"result_ttl"]) == 0
    assert int(stored[b"failure_ttl"]) > 0
    assert b"retries_left" not in stored, "what is to be done is tried again by its unit"


async def test_short_timeout_is_not_rounded_to_none(queue, rq_queue):
    await enqueue(queue, timeout_seconds=0.3)
    assert rq_queue.fetch_job("job-1").timeout == 1


async def test_asking_often_for_one_call_queues_it_once(queue):
    await asyncio.gather(*(enqueue(queue) for _ in range(50)))
    assert (await stats(queue)).queued == 1


async def test_waiting_call_stays_as_it_is(queue, rq_queue):
    await enqueue(queue, "operator.add", 1, 1)
    before = await stats(queue)
    await enqueue(queue, "operator.add", 2, 2)
    assert await stats(queue) == before
    assert rq_queue.fetch_job("job-1").args == [1, 1]


async def test_running_call_stays_as_it_is(queue, rq_queue):
    await enqueue(queue)
    running, _ = Queue.dequeue_any([rq_queue], None, rq_queue.connection, serializer=JSONSerializer)
    running.set_status(JobStatus.STARTED)
    await enqueue(queue)
    assert await queue.get_job_status("job-1") == "started"
    assert await stats(queue) == EMPTY


async def test_record_of_a_failed_call_blocks_nothing(queue, rq_queue):
    await enqueue(queue, "operator.getitem", 1, 2)
    work_off(rq_queue)
    assert await queue.get_job_status("job-1") == "failed"
    await enqueue(queue)
    assert await queue.get_job_status("job-1") == "queued"
    counts = await stats(queue)
    assert (counts.queued, counts.failed) == (1, 0)


async def test_asking_often_after_a_call_ended_queues_it_once(queue, rq_queue):
    for _ in range(5):
        await enqueue(queue)
        work_off(rq_queue)
        await asyncio.gather(*(enqueue(queue) for _ in range(50)))
        assert rq_queue.job_ids == ["job-1"]
        assert await queue.get_job_status("job-1") == "queued"
        work_off(rq_queue)


async def test_stopped_or_cancelled_call_can_be_queued_again(queue, rq_queue):
    for status in (JobStatus.STOPPED, JobStatus.CANCELED):
        await enqueue(queue)
        rq_queue.empty()
        job = Job.create("operator.add", (1, 2), connection=rq_queue.connection, id="job-1",
                         serializer=JSONSerializer, origin=SPEECH_QUEUE, status=status)  # fmt: skip
        job.save()
        await enqueue(queue)
        assert rq_queue.job_ids == ["job-1"]
        assert await queue.get_job_status("job-1") == "queued"


async def test_failed_calls_are_counted(queue, rq_queue):
    await enqueue(queue, "operator.getitem", 1, 2)
    work_off(rq_queue)
    assert (await stats(queue)).failed == 1


async def test_unknown_call_has_no_status(queue):
    assert await queue.get_job_status("job-1") is None


async def test_stats_name_every_queue(queue):
    assert await queue.get_queue_stats() == dict.fromkeys(QUEUES, EMPTY)


async def test_waiting_calls_are_counted_by_queue(queue, rq_queue):
    for number in range(3):
        await enqueue(queue, job_id=f"job-{number}")
    assert await queue.count_queued(SPEECH_QUEUE) == 3
    assert await queue.count_queued(SHORT_QUEUE) == 0
    work_off(rq_queue)
    assert await queue.count_queued(SPEECH_QUEUE) == 0


async def test_workers_are_counted_by_queue(queue, rq_queue):
    assert await queue.count_workers(SPEECH_QUEUE) == 0
    worker = Worker([rq_queue], connection=rq_queue.connection, serializer=JSONSerializer)
    worker.register_birth()
    assert await queue.count_workers(SPEECH_QUEUE) == 1
    assert await queue.count_workers("other") == 0
    assert (await stats(queue)).workers == 1
    worker.register_death()
    assert await queue.count_workers(SPEECH_QUEUE) == 0


async def test_closing_leaves_no_connection_behind(queue, redis_client):
    ours = redis_client.client_id()

    def others() -> list[str]:
        return [client["id"] for client in redis_client.client_list() if int(client["id"]) != ours]

    before = others()
    await asyncio.gather(*(queue.health_check() for _ in range(5)))
    assert len(others()) > len(before)
    await queue.close()
    await queue.close()
    assert others() == before


@pytest.mark.usefixtures("no_pauses")
async def test_unreachable_redis_is_worth_another_try(make_settings, closed_port):
    queue = RedisQueueManager(make_settings(redis_port=closed_port))
    for call in (queue.health_check(), queue.get_queue_stats(), enqueue(queue)):
        with pytest.raises(QueueUnavailable) as unreachable:
            await call
        assert unreachable.value.retryable
    await queue.close()


@pytest.mark.usefixtures("no_pauses")
@pytest.mark.parametrize("password", ["wrong", None])
async def test_refused_login_is_a_mistake_of_the_settings(
    make_settings, redis_server, redis_client, password
):
    queue = RedisQueueManager(make_settings(**redis_server | {"redis_password": password}))
    for call in (queue.health_check(), enqueue(queue), queue.count_workers(SPEECH_QUEUE)):
        with pytest.raises(Misconfigured, match="REDIS_PASSWORD"):
            await call
    await queue.close()
