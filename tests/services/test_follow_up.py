"""What follows the end of a job: done once, whoever fails, and however often it is tried."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime, timedelta

import pytest

from core.clock import utc_now
from core.errors import NotFound, StorageUnavailable
from repositories.models import JobModel, JobStatus, Stage
from repositories.webhook_models import DeliveryModel, DeliveryState, WebhookModel
from services.announcements import Announcements
from services.follow_up_service import FollowUpService
from services.lifecycle import ending
from tests.services.support import CRASHED, JOB, completed, put, stored

ENDED = {"follow_up": True, "webhook_id": "wh_ann"}


@pytest.fixture
async def webhook(parts) -> WebhookModel:
    endpoint = WebhookModel(id="wh_ann", owner="ann", url="https://a.example/", secret="whsec_")
    return await parts.webhook_endpoints.register(endpoint)


@pytest.fixture
def follow_ups(parts) -> FollowUpService:
    announcements = Announcements(parts.webhook_endpoints, parts.webhook_deliveries)
    return FollowUpService(parts.ended_jobs, [announcements.add])


@pytest.fixture
def soon(monkeypatch) -> None:
    """What failed is tried again at once."""
    monkeypatch.setattr("services.follow_up_service._PAUSE_SECONDS", -1.0)


async def deliveries(parts) -> list[DeliveryModel]:
    """What is to be sent, the first first."""
    page = await parts.webhook_deliveries.list_deliveries("wh_ann", limit=99, cursor=None)
    return page.items[::-1]


async def is_followed_up(parts, job_id: str = JOB) -> bool:
    return not (await parts.jobs.get_job(job_id)).follow_up


async def test_a_completed_job_is_announced_to_its_webhook_without_its_words(
    parts, follow_ups, webhook
):
    job = await completed(parts, timings={"prepare": 0.5}, duration=20.0, **ENDED)
    await follow_ups.run()
    (delivery,) = await deliveries(parts)
    assert (delivery.owner, delivery.job_id, delivery.state) == ("ann", JOB, DeliveryState.OPEN)
    assert delivery.type == "task.completed"
    assert "." not in delivery.id  # it separates what is signed
    told = json.loads(delivery.body)
    assert told["type"] == "task.completed"
    assert datetime.fromisoformat(told["timestamp"]) == job.finished_at
    data = told["data"]
    assert (data["id"], data["status"], data["file_name"]) == (JOB, "completed", "a.wav")
    assert (data["duration"], data["timings"], data["error"]) == (20.0, {"prepare": 0.5}, None)
    assert data["task_path"] == f"/api/v1/tasks/{JOB}"
    assert data["result_path"] == f"/api/v1/tasks/{JOB}/result"
    for word in ("morning", "Thank"):
        assert word not in delivery.body
    kept = delivery.expires_at - delivery.created_at
    assert abs(kept - timedelta(days=30)) < timedelta(minutes=1)
    assert await is_followed_up(parts)


async def test_failed_and_cancelled_jobs_are_announced_as_such(parts, follow_ups, webhook):
    now = utc_now()
    await stored(parts, "1", status=JobStatus.FAILED, error=CRASHED, finished_at=now, **ENDED)
    await stored(parts, "2", status=JobStatus.CANCELLED, finished_at=now, **ENDED)
    await follow_ups.run()
    told = {entry.job_id: json.loads(entry.body) for entry in await deliveries(parts)}
    assert {job_id: body["type"] for job_id, body in told.items()} == {
        "1": "task.failed",
        "2": "task.cancelled",
    }
    assert told["1"]["data"]["error"]["message"] == CRASHED.message
    assert told["1"]["data"]["result_path"] is None


async def test_many_at_once_announce_it_once(parts, follow_ups, webhook):
    await completed(parts, **ENDED)
    await asyncio.gather(*(follow_ups.run() for _ in range(10)))
    assert len(await deliveries(parts)) == 1


async def test_one_that_was_killed_half_way_leaves_one_announcement(parts, follow_ups, webhook):
    await completed(parts, **ENDED)
    await follow_ups.run()
    # As if it had been killed before it took the mark away.
    jobs = parts.database.get_collection("jobs")
    await jobs.update_one({"_id": JOB}, {"$set": {"follow_up": True, "follow_up_at": 0}})
    await follow_ups.run()
    assert len(await deliveries(parts)) == 1
    assert await is_followed_up(parts)


async def test_another_end_of_the_same_job_is_another_announcement(parts, follow_ups, webhook):
    job = await completed(parts, **ENDED)
    await follow_ups.run()
    await parts.jobs.update_job(JOB, ending(job))
    await follow_ups.run()
    assert len({entry.id for entry in await deliveries(parts)}) == 2


async def test_nobody_is_told_of_a_job_that_names_nobody_or_somebody_who_left(
    parts, follow_ups, webhook
):
    await completed(parts, follow_up=True)
    await stored(parts, "2", status=JobStatus.FAILED, finished_at=utc_now(),
                 follow_up=True, webhook_id="wh_deleted")  # fmt: skip
    await follow_ups.run()
    assert await deliveries(parts) == []
    assert await is_followed_up(parts)
    assert await is_followed_up(parts, "2")


async def test_a_job_begun_anew_meanwhile_is_followed_up_at_its_next_end(parts):
    seen = []

    async def slow(job: JobModel) -> None:
        seen.append(job.finished_at)
        if len(seen) == 1:
            await parts.jobs.update_job(JOB, ending(job))

    job = await completed(parts, follow_up=True)
    await FollowUpService(parts.ended_jobs, [slow]).run()
    assert seen[0] == job.finished_at
    assert seen[1] > job.finished_at
    assert await is_followed_up(parts)


async def test_what_fails_for_one_job_holds_up_neither_others_nor_the_rest(parts, soon):
    done = []

    async def broken(job: JobModel) -> None:
        if job.id == JOB:
            raise ValueError("a mistake in the program")

    async def works(job: JobModel) -> None:
        done.append(job.id)

    await completed(parts, follow_up=True)
    await stored(parts, "2", status=JobStatus.FAILED, finished_at=utc_now(), follow_up=True)
    await FollowUpService(parts.ended_jobs, [broken, works]).run()
    assert await is_followed_up(parts, "2")
    # Each of the five attempts does the rest too; then the job is let go.
    assert done.count(JOB) == 5
    assert await is_followed_up(parts)


async def test_a_transcript_that_cannot_be_indexed_is_announced_all_the_same(parts, webhook, soon):
    job = await completed(parts, **ENDED)
    await put(parts, job.result.object, ["no transcript at all"])
    await parts.follow_ups.run()
    assert len(await deliveries(parts)) == 1
    assert await is_followed_up(parts)


async def test_a_server_that_is_away_is_waited_for(parts, soon):
    attempts = 0

    async def away(job: JobModel) -> None:
        nonlocal attempts
        attempts += 1
        if attempts <= 20:
            raise StorageUnavailable("away")

    await completed(parts, follow_up=True)
    await FollowUpService(parts.ended_jobs, [away]).run()
    assert attempts == 21
    assert await is_followed_up(parts)


async def test_what_failed_is_tried_again_after_a_pause(parts):
    attempts = []

    async def away(job: JobModel) -> None:
        attempts.append(job.id)
        raise StorageUnavailable("away")

    await completed(parts, follow_up=True)
    service = FollowUpService(parts.ended_jobs, [away])
    await service.run()
    await service.run()
    assert attempts == [JOB]
    assert not await is_followed_up(parts)


async def test_nobody_is_told_of_a_running_job_that_is_deleted(
    parts, follow_ups, endings, webhook, monkeypatch
):
    async def meanwhile(*_) -> None:
        await follow_ups.run()

    monkeypatch.setattr(endings, "forget_stored", meanwhile)
    job = await stored(parts, stage=Stage.TRANSCRIBE, webhook_id="wh_ann")
    await endings.delete(job)
    assert await parts.jobs.get_job(JOB) is None
    assert await deliveries(parts) == []


async def test_what_is_told_of_a_deleted_job_is_still_told(parts, follow_ups, endings, webhook):
    job = await completed(parts, **ENDED)
    await follow_ups.run()
    await endings.delete(job)
    assert len(await deliveries(parts)) == 1


async def test_the_log_is_kept_for_its_time(parts, follow_ups, webhook):
    await completed(parts, **ENDED)
    await follow_ups.run()
    (delivery,) = await deliveries(parts)
    old = delivery.model_copy(update={"id": "old", "expires_at": utc_now() - timedelta(days=1)})
    await parts.webhook_deliveries.add(old)
    await parts.upkeep.sweep()
    assert await deliveries(parts) == [delivery]
    with pytest.raises(NotFound):
        await parts.webhook_deliveries.require("old", "wh_ann")
