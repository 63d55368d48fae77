"""What is seen to again and again: nothing is lost, and nothing is left over."""

from __future__ import annotations

import asyncio
import os
import time
from datetime import timedelta

import pytest

from core.clock import utc_now
from core.workspace import working_folder
from repositories.models import (
    DiarizationModel,
    DiarizationState,
    JobStatus,
    Stage,
    UnitCreate,
    UnitKind,
    UnitState,
    UploadKey,
)
from tests.services.support import (
    JOB,
    THE_PAST,
    completed,
    kept,
    put,
    store_chunks,
    stored,
    unit_ids,
)

HOUR = timedelta(hours=1)
TERMINAL = sorted(status for status in JobStatus if status.is_terminal)


async def aged(parts, key: str, hours: float = 2.0) -> str:
    """Store an object that was stored so long ago."""
    await put(parts, key, "x")
    then = time.time() - hours * 3600
    os.utime(parts.settings.objects_dir / key, (then, then))
    return key


async def keys(parts) -> list[str]:
    return [stat.key for stat in await parts.store.list("")]


async def sweep_again(parts) -> None:
    """Sweep as if its turn had come again."""
    await parts.database.get_collection("turns").delete_many({})
    await parts.upkeep.sweep()


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"status": JobStatus.PENDING, "stage": Stage.PREPARE}, ["prepare"]),
        ({"stage": Stage.MERGE}, ["merge"]),
        ({"stage": Stage.DIARIZE}, ["diarize-1"]),
    ],
)
async def test_a_job_that_a_crash_left_without_work_is_resumed(parts, fields, expected):
    await stored(parts, updated_at=THE_PAST, **fields)
    await store_chunks(parts)
    await parts.upkeep.sweep()
    assert await unit_ids(parts) == expected


async def test_a_job_that_was_just_touched_is_left_alone(parts):
    await stored(parts, stage=Stage.PREPARE)
    await parts.upkeep.sweep()
    assert await unit_ids(parts) == []


async def test_a_job_for_which_something_is_done_is_left_alone(parts):
    await stored(parts, stage=Stage.MERGE, updated_at=THE_PAST)
    unit = UnitCreate(
        id=f"{JOB}-long", job_id=JOB, kind=UnitKind.DIARIZE, queue="diarization", timeout_seconds=9
    )
    await parts.units.add("ann", [unit])
    await parts.upkeep.sweep()
    assert await unit_ids(parts) == ["long"]


@pytest.mark.parametrize("status", TERMINAL)
async def test_a_job_that_has_ended_is_not_resumed(parts, status):
    await stored(parts, status=status, updated_at=THE_PAST)
    await parts.upkeep.sweep()
    assert await unit_ids(parts) == []


async def test_one_of_many_sweeps(parts):
    await asyncio.gather(*(parts.upkeep.sweep() for _ in range(5)))
    await stored(parts, stage=Stage.PREPARE, updated_at=THE_PAST)
    await parts.upkeep.sweep()
    assert await unit_ids(parts) == [], "it is nobody's turn yet"
    await sweep_again(parts)
    assert await unit_ids(parts) == ["prepare"]


@pytest.mark.parametrize("status", TERMINAL)
async def test_a_job_whose_time_is_over_is_deleted(parts, status):
    await completed(parts, status=status, expires_at=utc_now() - HOUR)
    await put(parts, f"jobs/{JOB}/source", "x")
    await parts.upkeep.sweep()
    assert await parts.jobs.get_job(JOB) is None
    assert await parts.chunks.count(JOB) == 0
    assert await keys(parts) == []


@pytest.mark.parametrize("expires_at", [None, utc_now() + 24 * HOUR])
async def test_a_job_whose_time_is_not_over_is_kept(parts, expires_at):
    before = await completed(parts, expires_at=expires_at)
    await parts.upkeep.sweep()
    assert await parts.jobs.get_job(JOB) == before
    assert await kept(parts) == ["transcript-old.json"]


async def test_a_job_that_is_worked_on_is_not_deleted(parts):
    await stored(parts, expires_at=utc_now() - HOUR)
    await parts.upkeep.sweep()
    assert await parts.jobs.get_job(JOB) is not None


async def test_what_is_stored_for_no_task_is_removed_after_the_grace(parts):
    await aged(parts, "jobs/gone/source")
    fresh = await aged(parts, "jobs/uploading/source", 0.5)
    mixed = [await aged(parts, "jobs/mixed/source"), await aged(parts, "jobs/mixed/b.wav", 0)]
    await stored(parts, "job-2", status=JobStatus.COMPLETED)
    own = await aged(parts, "jobs/job-2/source")
    await parts.chunks.add_chunks("gone", [])
    await parts.upkeep.sweep()
    assert await keys(parts) == sorted([fresh, *mixed, own])


async def test_objects_are_not_looked_at_in_every_sweep(parts):
    await parts.upkeep.sweep()
    await aged(parts, "jobs/gone/source")
    await parts.database.get_collection("turns").delete_one({"_id": "sweep"})
    await parts.upkeep.sweep()
    assert await keys(parts) == ["jobs/gone/source"]
    await sweep_again(parts)
    assert await keys(parts) == []


async def test_what_an_ended_task_does_not_use_is_removed(parts):
    """A consumer that was killed had stored it, or was about to remove it."""
    await completed(parts, diarization=DiarizationModel(state=DiarizationState.DONE))
    for name in ("source", "audio.wav", "diarization-1-x.json", "transcript-lost.json"):
        await aged(parts, f"jobs/{JOB}/{name}")
    await aged(parts, f"jobs/{JOB}/transcript-old.json")
    await parts.upkeep.sweep()
    assert await kept(parts) == ["source", "transcript-old.json"]


async def test_what_a_task_still_needs_is_kept(parts):
    names = ["audio.wav", "diarization-1-x.json", "source"]
    await stored(parts, status=JobStatus.PROCESSING)
    for name in names:
        await aged(parts, f"jobs/{JOB}/{name}")
    await parts.upkeep.sweep()
    assert await kept(parts) == names


async def test_turns_that_were_found_are_kept_for_another_attempt(parts):
    key = f"jobs/{JOB}/diarization-1-x.json"
    found = DiarizationModel(state=DiarizationState.DONE, object=key)
    await stored(parts, status=JobStatus.FAILED, diarization=found)
    for name in ("audio.wav", "diarization-1-x.json", "source"):
        await aged(parts, f"jobs/{JOB}/{name}")
    await parts.upkeep.sweep()
    assert await kept(parts) == ["diarization-1-x.json", "source"]


async def test_half_written_objects_are_removed(parts):
    partial = parts.settings.objects_dir / ".partial" / "half"
    partial.write_bytes(b"half")
    os.utime(partial, (0, 0))
    await parts.upkeep.sweep()
    assert not partial.exists()


async def test_keys_are_forgotten_when_their_time_is_over(parts):
    over = utc_now() - HOUR
    key = UploadKey(
        id="k", fingerprint="f", job_id=JOB, holder="us", lease_until=over, expires_at=over
    )
    await parts.keys.claim(key)
    await parts.upkeep.sweep()
    assert await parts.keys.get("k") is None


async def test_folders_of_killed_processes_are_removed(parts):
    temp_dir = parts.settings.temp_dir
    abandoned = temp_dir / "work-abandoned"
    abandoned.mkdir()
    with working_folder(temp_dir) as living:
        for folder in (abandoned, living):
            os.utime(folder, (0, 0))
        await parts.upkeep.sweep_own_files()
        assert list(temp_dir.iterdir()) == [living]


async def test_units_of_vanished_consumers_are_opened(parts):
    await parts.dispatcher.merge(await stored(parts, stage=Stage.MERGE))
    await parts.units.claim(["short"], -1)
    await parts.upkeep.expire_leases()
    (unit,) = await parts.units.get_units(JOB)
    assert (unit.state, unit.crashes) == (UnitState.OPEN, 1)


async def test_consumers_are_woken_for_what_waits(parts, queues, redis_client):
    await parts.dispatcher.merge(await stored(parts, stage=Stage.MERGE, duration=3600.0))
    redis_client.flushdb()
    await parts.dispatcher.wake_for_waiting()
    assert [call.queue for call in queues.all()] == ["speech"]
