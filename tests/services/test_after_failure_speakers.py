"""What a failed attempt means where speakers are asked for: never the loss of a transcript."""

from __future__ import annotations

import pytest

from core.errors import QueueUnavailable
from repositories.models import (
    ChunkStatus,
    DiarizationModel,
    DiarizationState,
    JobStatus,
    Stage,
    UnitKind,
    UnitState,
)
from services.speaker_service import RequestedSpeakers
from tests.services.support import (
    ANN_THEN_BO,
    JOB,
    claimed,
    completed,
    kept,
    put_turns,
    store_chunks,
    stored,
    unit_ids,
)
from worker.errors import EngineFailed, EngineMissing, IncompleteResults

FAILED, DONE = DiarizationState.FAILED, DiarizationState.DONE
CRASH = EngineFailed("The diarizer crashed or was killed.", code="diarization_failed")
MISSING = EngineMissing("HF_TOKEN is missing.", code="hf_token_missing")
BROKEN = IncompleteResults("The chunks do not span the recording.")
AWAY = QueueUnavailable("Away.")
TURNS = f"jobs/{JOB}/diarization-2-new.json"


async def diarizing(parts, revision: int = 1):
    job = await stored(parts, diarization=DiarizationModel(revision=revision))
    await parts.dispatcher.diarize(job)
    return await claimed(parts, UnitKind.DIARIZE)


async def fail(parts, unit, error, *, last: bool = False) -> None:
    failures = parts.settings.job_max_attempts - 1 if last else 0
    await parts.failures.settle(unit.model_copy(update={"failures": failures}), error)


@pytest.mark.parametrize("error", [CRASH, AWAY, RuntimeError("odd")], ids=str)
async def test_what_may_pass_is_tried_again(parts, error):
    unit = await diarizing(parts, revision=4)
    await store_chunks(parts)
    before = await parts.jobs.get_job(JOB)
    await fail(parts, unit, error)
    (left,) = await parts.units.get_units(JOB)
    assert (left.id, left.state, left.failures) == (f"{JOB}-diarize-4", UnitState.OPEN, 1)
    assert await parts.jobs.get_job(JOB) == before


@pytest.mark.parametrize(
    ("error", "reason", "last"),
    [(CRASH, CRASH.message, True), (RuntimeError("odd"), "An unexpected error", True),
     (MISSING, MISSING.message, False)],
)  # fmt: skip
async def test_at_last_the_job_goes_on_without_speakers(parts, error, reason, last):
    unit = await diarizing(parts)
    await store_chunks(parts)
    await fail(parts, unit, error, last=last)
    job = await parts.jobs.get_job(JOB)
    assert (job.status, job.stage, job.diarization.state) == (
        JobStatus.PROCESSING, Stage.MERGE, FAILED,
    )  # fmt: skip
    (warning,) = job.all_warnings
    assert warning.startswith(f"There are no speaker labels: {reason}")
    assert await unit_ids(parts) == ["merge"]


async def test_given_up_while_words_are_missing_the_words_are_waited_for(parts):
    unit = await diarizing(parts)
    await store_chunks(parts, (ChunkStatus.PENDING,) * 2)
    await fail(parts, unit, MISSING)
    job = await parts.jobs.get_job(JOB)
    assert (job.stage, job.diarization.state) == (Stage.TRANSCRIBE, FAILED)
    assert await unit_ids(parts) == ["transcribe-0"]


async def test_a_failure_of_a_replaced_diarization_does_not_end_the_next(parts):
    unit = await diarizing(parts, revision=2)
    await store_chunks(parts)
    before = await parts.jobs.get_job(JOB)
    await fail(parts, unit.model_copy(update={"revision": 1}), MISSING)
    assert (await parts.jobs.get_job(JOB)).diarization == before.diarization


async def test_speakers_that_cannot_be_found_again_leave_those_that_there_are(parts):
    before = await completed(parts, speaker_names={"SPEAKER_01": "Bo"})
    await parts.speakers.rediarize("ann", JOB, RequestedSpeakers())
    await fail(parts, await claimed(parts, UnitKind.DIARIZE), MISSING)
    job = await parts.jobs.get_job(JOB)
    assert (job.status, job.stage) == (JobStatus.COMPLETED, Stage.DONE)
    assert (job.result, job.speaker_names) == (before.result, before.speaker_names)
    assert MISSING.message in job.all_warnings[0]
    assert await unit_ids(parts) == []


async def merging_again(parts):
    """Claim the merge of a job whose speakers were found again."""
    found = DiarizationModel(revision=2, state=DONE, object=TURNS, model="demo")
    again = {"status": JobStatus.PROCESSING, "stage": Stage.MERGE, "finished_at": None}
    job = await completed(parts, diarization=found, speaker_names={"SPEAKER_01": "Bo"}, **again)
    await put_turns(parts, TURNS, ANN_THEN_BO)
    await parts.dispatcher.merge(job)
    return await claimed(parts, UnitKind.MERGE)


async def test_a_merge_that_fails_for_good_keeps_the_transcript_that_there_was(parts):
    unit = await merging_again(parts)
    before = await parts.jobs.get_job(JOB)
    await fail(parts, unit, BROKEN)

    job = await parts.jobs.get_job(JOB)
    assert (job.status, job.stage, job.error) == (JobStatus.COMPLETED, Stage.DONE, None)
    assert (job.result, job.speaker_names) == (before.result, before.speaker_names)
    assert job.finished_at is not None
    assert (job.diarization.state, job.diarization.object) == (FAILED, None)
    assert BROKEN.message in job.all_warnings[0]
    assert "transcript-old.json" in await kept(parts)
    assert await unit_ids(parts) == []
    _, transcript = await parts.tasks.get_task_result("ann", JOB)
    assert len(transcript["turns"]) == 2


async def test_a_merge_that_may_succeed_is_tried_again_before_that(parts):
    unit = await merging_again(parts)
    before = await parts.jobs.get_job(JOB)
    await fail(parts, unit, AWAY)
    assert await unit_ids(parts) == ["merge"]
    assert await parts.jobs.get_job(JOB) == before
    await parts.database.get_collection("units").update_many({}, {"$set": {"not_before": 0}})
    await fail(parts, await claimed(parts, UnitKind.MERGE), AWAY, last=True)
    assert (await parts.jobs.get_job(JOB)).status is JobStatus.COMPLETED
