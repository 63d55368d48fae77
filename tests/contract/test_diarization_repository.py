"""The contract of `TaskRepository` about speakers, on every database that it has to work with."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime

import pytest

from core.database import MongoDB
from repositories.models import (
    DiarizationModel,
    DiarizationState,
    JobCreate,
    JobModel,
    JobOptions,
    JobStatus,
    JobUpdate,
    Result,
    Source,
    SpeakerModel,
    Stage,
)

THE_PAST = datetime(2024, 2, 29, 23, 59, 59, 999_000, tzinfo=UTC)
DONE, FAILED, PENDING = DiarizationState.DONE, DiarizationState.FAILED, DiarizationState.PENDING
SPEAKERS = [
    SpeakerModel(id="SPEAKER_00", label="Speaker 1", speech_seconds=61.25),
    SpeakerModel(id="SPEAKER_01", label="Speaker 2", speech_seconds=0.0),
]


async def stored(database: MongoDB, job_id: str = "job-1", **fields) -> JobModel:
    """Put a job into the database as it would be after some history."""
    options = JobOptions(model="demo-en", diarize=True, min_speakers=2, max_speakers=4)
    source = Source(
        object=f"jobs/{job_id}/source", file_name="a.wav", size_bytes=1, sha256="0" * 64,
        format="wav", codec="pcm",
    )  # fmt: skip
    create = JobCreate(id=job_id, owner="ann", options=options, source=source)
    job = JobModel(**create.model_dump(), **{"updated_at": THE_PAST} | fields)
    await database.get_collection("jobs").insert_one(job.to_dict())
    return job


async def diarizing(database: MongoDB, job_id: str = "job-1", **fields) -> JobModel:
    """Put a job into the database whose third diarization runs."""
    diarization = DiarizationModel(revision=3, progress=0.25, num_speakers=2)
    processing = {"status": JobStatus.PROCESSING, "stage": Stage.DIARIZE}
    return await stored(database, job_id, **processing | {"diarization": diarization} | fields)


# Fields of a job whose third diarization is not waited for: other states, other revisions, none.
NOT_WAITING = [
    {"status": JobStatus.PENDING},
    {"status": JobStatus.COMPLETED},
    {"status": JobStatus.FAILED},
    {"status": JobStatus.CANCELLED},
    {"diarization": DiarizationModel(revision=2)},
    {"diarization": DiarizationModel(revision=4)},
    {"diarization": DiarizationModel(revision=3, state=DONE, object="jobs/1/d.json")},
    {"diarization": DiarizationModel(revision=3, state=FAILED, warning="It crashed.")},
    {"diarization": None},
]
not_waiting = pytest.mark.parametrize("fields", NOT_WAITING, ids=str)


async def test_progress_of_diarization_only_rises(jobs, database):
    before = await diarizing(database)
    shares = random.Random(1).sample([at / 64 for at in range(17, 49)], 32)
    await asyncio.gather(*(jobs.record_diarization_progress("job-1", 3, share) for share in shares))
    await jobs.record_diarization_progress("job-1", 3, 0.5)
    after = await jobs.get_job("job-1")
    assert after.diarization == before.diarization.model_copy(update={"progress": 0.75})
    assert after.updated_at > THE_PAST
    expected = {"diarization": after.diarization, "updated_at": after.updated_at}
    assert after == before.model_copy(update=expected)


@not_waiting
async def test_late_progress_of_diarization_changes_nothing(jobs, database, fields):
    before = await diarizing(database, **fields)
    await jobs.record_diarization_progress("job-1", 3, 0.75)
    assert await jobs.get_job("job-1") == before


async def test_progress_is_recorded_for_the_job_named(jobs, database):
    await diarizing(database)
    other = await diarizing(database, "job-2")
    await jobs.record_diarization_progress("job-1", 3, 0.75)
    await jobs.record_diarization_progress("job-3", 3, 0.75)
    assert await jobs.get_job("job-2") == other
    assert await jobs.get_job("job-3") is None


async def test_of_many_that_settle_a_diarization_one_wins(jobs, database):
    before = await diarizing(database)
    settled = await asyncio.gather(
        *(
            jobs.settle_diarization("job-1", 3, DONE, object=f"jobs/1/{at}.json", warning=f"{at}")
            if at % 2
            else jobs.settle_diarization("job-1", 3, FAILED, warning=f"{at}")
            for at in range(50)
        )
    )
    assert settled.count(True) == 1
    winner = settled.index(True)
    changes = {"state": FAILED, "warning": f"{winner}"}
    if winner % 2:
        changes = {"state": DONE, "object": f"jobs/1/{winner}.json", "warning": f"{winner}"}
    job = await jobs.get_job("job-1")
    assert job.diarization == before.diarization.model_copy(update=changes)


@pytest.mark.parametrize("state", [DONE, FAILED])
async def test_outcome_of_a_diarization_is_kept(jobs, database, state):
    before = await diarizing(database, timings={"prepare": 1.5, "diarize": 2.5})
    other = await diarizing(database, "job-2")
    outcome = {"object": "jobs/1/d.json", "model": "demo", "warning": "Stimmen: «Zürich» 🎙"}
    assert await jobs.settle_diarization("job-1", 3, state, seconds=9.25, **outcome)
    after = await jobs.get_job("job-1")
    asked = before.diarization
    changes = {
        "diarization": asked.model_copy(update={"state": state, **outcome}),
        "timings": {"prepare": 1.5, "diarize": 9.25},
        "updated_at": after.updated_at,
    }
    assert after == before.model_copy(update=changes)
    assert after.updated_at > THE_PAST
    assert after.all_warnings == ["Stimmen: «Zürich» 🎙"]
    assert await jobs.get_job("job-2") == other


@not_waiting
async def test_diarization_that_nobody_waits_for_is_not_settled(jobs, database, fields):
    before = await diarizing(database, **fields)
    assert not await jobs.settle_diarization("job-1", 3, DONE, object="jobs/1/late.json")
    assert not await jobs.settle_diarization("job-2", 3, DONE, object="jobs/1/late.json")
    assert await jobs.get_job("job-1") == before


async def test_a_diarization_asked_for_in_an_update_can_be_settled(jobs, database):
    """Its defaults are in the database too: the queries look for them."""
    await stored(database, status=JobStatus.PROCESSING, stage=Stage.PREPARE)
    asked = DiarizationModel(min_speakers=2, max_speakers=4)
    assert await jobs.update_job("job-1", JobUpdate(duration=60.0, diarization=asked))
    assert (await jobs.get_job("job-1")).diarization == asked
    await jobs.record_diarization_progress("job-1", 1, 0.5)
    assert (await jobs.get_job("job-1")).diarization.progress == 0.5
    assert await jobs.settle_diarization("job-1", 1, FAILED, warning="It crashed.")


async def test_a_completed_job_goes_back_with_a_fresh_diarization(jobs, database):
    old = DiarizationModel(revision=1, state=DONE, object="jobs/1/d.json", warning="Demo.")
    result = Result(object="jobs/1/t.json", language="en", duration=60.0, segments=1, words=9)
    before = await stored(
        database, status=JobStatus.COMPLETED, stage=Stage.DONE, diarization=old,
        result=result, finished_at=THE_PAST, speaker_names={"SPEAKER_00": "Ann"},
    )  # fmt: skip
    fresh = DiarizationModel(revision=2, num_speakers=3)
    update = JobUpdate(stage=Stage.DIARIZE, diarization=fresh, finished_at=None)
    back = {"allowed_from": {JobStatus.COMPLETED}, "update": update}
    moved = await asyncio.gather(
        *(jobs.update_status("job-1", JobStatus.PROCESSING, **back) for _ in range(20))
    )
    assert moved.count(True) == 1
    after = await jobs.get_job("job-1")
    changes = {
        "status": JobStatus.PROCESSING, "stage": Stage.DIARIZE, "diarization": fresh,
        "finished_at": None, "updated_at": after.updated_at,
    }  # fmt: skip
    assert after == before.model_copy(update=changes)
    assert not await jobs.settle_diarization("job-1", 1, DONE)
    assert await jobs.settle_diarization("job-1", 2, DONE)


async def test_speakers_are_named_and_renamed_and_unnamed(jobs, database):
    before = await stored(database, status=JobStatus.COMPLETED)
    other = await stored(database, "job-2", status=JobStatus.COMPLETED)
    first = {"SPEAKER_00": "Ann", "SPEAKER_01": "Bo", "SPEAKER_02": "Cy"}
    assert await jobs.name_speakers("job-1", first)
    assert (await jobs.get_job("job-1")).speaker_names == first
    second = {"SPEAKER_00": "Anna “Ä” $set.a", "SPEAKER_01": None, "SPEAKER_03": "Di"}
    assert await jobs.name_speakers("job-1", second)
    after = await jobs.get_job("job-1")
    names = {"SPEAKER_00": "Anna “Ä” $set.a", "SPEAKER_02": "Cy", "SPEAKER_03": "Di"}
    changes = {"speaker_names": names, "updated_at": after.updated_at}
    assert after == before.model_copy(update=changes)
    assert after.updated_at > THE_PAST
    assert await jobs.get_job("job-2") == other


@pytest.mark.parametrize("names", [{"SPEAKER_00": "Ann", "SPEAKER_01": "Bo"}, {}])
async def test_taking_all_names_away_leaves_none(jobs, database, names):
    await stored(database, status=JobStatus.COMPLETED, speaker_names=names)
    assert await jobs.name_speakers("job-1", {"SPEAKER_00": None, "SPEAKER_01": None})
    assert (await jobs.get_job("job-1")).speaker_names == {}


@pytest.mark.parametrize("status", set(JobStatus) - {JobStatus.COMPLETED})
@pytest.mark.parametrize("name", ["Ann", None])
async def test_only_a_completed_job_takes_names(jobs, database, status, name):
    before = await stored(database, status=status, speaker_names={"SPEAKER_00": "Old"})
    assert not await jobs.name_speakers("job-1", {"SPEAKER_00": name})
    assert not await jobs.name_speakers("job-2", {"SPEAKER_00": name})
    assert await jobs.get_job("job-1") == before


async def test_names_in_an_update_replace_those_that_there_are(jobs, database):
    names = {"SPEAKER_00": "Ann", "SPEAKER_01": "Bo"}
    await stored(database, status=JobStatus.PROCESSING, speaker_names=names)
    assert await jobs.update_job("job-1", JobUpdate(speaker_names={"SPEAKER_01": "Ann"}))
    assert (await jobs.get_job("job-1")).speaker_names == {"SPEAKER_01": "Ann"}
    assert await jobs.update_job("job-1", JobUpdate(speaker_names={}))
    assert (await jobs.get_job("job-1")).speaker_names == {}


@pytest.mark.parametrize("speakers", [SPEAKERS, []])
async def test_speakers_of_a_result_come_back(jobs, database, speakers):
    await stored(database, status=JobStatus.PROCESSING)
    result = Result(
        object="jobs/1/t.json", language="en", duration=61.25, segments=1, words=9,
        speakers=speakers,
    )  # fmt: skip
    update = JobUpdate(result=result, speaker_names={"SPEAKER_00": "Ann"})
    completed, processing = JobStatus.COMPLETED, {JobStatus.PROCESSING}
    assert await jobs.update_status("job-1", completed, allowed_from=processing, update=update)
    job = await jobs.get_job("job-1")
    assert job.result == result
    assert job.result.speakers == speakers
