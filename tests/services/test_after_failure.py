"""What a failed attempt means where speakers are asked for: never the loss of a transcript."""

from __future__ import annotations

import pytest

from core.errors import NotFound, QueueUnavailable
from repositories.models import DiarizationModel, DiarizationState, JobStatus, Stage
from services.speaker_service import RequestedSpeakers
from tests.services.support import (
    ANN_THEN_BO,
    JOB,
    completed,
    kept,
    put_turns,
    store_chunks,
    stored,
)
from worker.errors import EngineFailed, EngineMissing, IncompleteResults

FAILED, DONE = DiarizationState.FAILED, DiarizationState.DONE
CRASH = EngineFailed("The diarizer crashed or was killed.", code="diarization_failed")
MISSING = EngineMissing("HF_TOKEN is missing.", code="hf_token_missing")
BROKEN = IncompleteResults("The chunks do not span the recording.")
TURNS = f"jobs/{JOB}/diarization-2-new.json"


@pytest.mark.parametrize("error", [CRASH, QueueUnavailable("Away."), RuntimeError("odd")])
async def test_what_may_pass_is_tried_again(parts, queues, error):
    before = await stored(parts, diarization=DiarizationModel(revision=4))
    await store_chunks(parts)
    last = parts.settings.job_max_attempts
    for attempt in range(1, last):
        await parts.pipeline.after_failure(JOB, Stage.DIARIZE, attempt, [4], error)
    calls = sorted(queues.all(), key=lambda call: call.id)
    assert [call.id for call in calls] == [f"{JOB}-diarize-4-{at}" for at in range(2, last + 1)]
    assert all(call.is_delayed and call.queue == "diarization" for call in calls)
    assert await parts.jobs.get_job(JOB) == before


@pytest.mark.parametrize(
    ("error", "reason"), [(CRASH, CRASH.message), (RuntimeError("odd"), "An unexpected error.")]
)
async def test_after_the_last_attempt_the_job_goes_on_without_speakers(
    parts, queues, error, reason
):
    await stored(parts)
    await store_chunks(parts)
    last = parts.settings.job_max_attempts
    await parts.pipeline.after_failure(JOB, Stage.DIARIZE, last, [1], error)
    job = await parts.jobs.get_job(JOB)
    assert (job.diarization.state, job.stage) == (FAILED, Stage.MERGE)
    assert job.all_warnings == [f"There are no speaker labels: {reason}"]
    assert queues.ids() == [f"{JOB}-merge-1-1"]


async def test_what_cannot_pass_is_given_up_at_once(parts, queues):
    await stored(parts)
    await store_chunks(parts)
    await parts.pipeline.after_failure(JOB, Stage.DIARIZE, 1, [1], MISSING)
    job = await parts.jobs.get_job(JOB)
    assert (job.status, job.diarization.state) == (JobStatus.PROCESSING, FAILED)
    assert queues.ids() == [f"{JOB}-merge-1-1"]


async def test_given_up_while_words_are_missing_the_words_are_waited_for(parts, queues):
    await stored(parts)
    await parts.pipeline.after_failure(JOB, Stage.DIARIZE, 1, [1], MISSING)
    job = await parts.jobs.get_job(JOB)
    assert (job.stage, job.diarization.state) == (Stage.TRANSCRIBE, FAILED)
    assert queues.ids() == []


async def test_a_failure_of_a_replaced_diarization_does_not_end_the_next(parts, queues):
    before = await stored(parts, diarization=DiarizationModel(revision=2))
    await store_chunks(parts)
    await parts.pipeline.after_failure(JOB, Stage.DIARIZE, 1, [1], MISSING)
    assert await parts.jobs.get_job(JOB) == before
    assert queues.ids() == []


async def test_speakers_that_cannot_be_found_again_leave_those_that_there_are(parts, queues):
    before = await completed(parts, speaker_names={"SPEAKER_01": "Bo"})
    await parts.speakers.rediarize("ann", JOB, RequestedSpeakers())
    await parts.pipeline.after_failure(JOB, Stage.DIARIZE, 1, [2], MISSING)
    job = await parts.jobs.get_job(JOB)
    assert (job.status, job.stage) == (JobStatus.COMPLETED, Stage.DONE)
    assert (job.result, job.speaker_names) == (before.result, before.speaker_names)
    assert MISSING.message in job.all_warnings[0]
    assert queues.ids() == [f"{JOB}-diarize-2-1"]


async def merging_again(parts) -> None:
    """Put a job into the database whose speakers were found again, right before the merge."""
    found = DiarizationModel(revision=2, state=DONE, object=TURNS, model="demo")
    again = {"status": JobStatus.PROCESSING, "stage": Stage.MERGE, "finished_at": None}
    await completed(parts, diarization=found, speaker_names={"SPEAKER_01": "Bo"}, **again)
    await put_turns(parts, TURNS, ANN_THEN_BO)


async def test_a_merge_that_fails_for_good_keeps_the_transcript_that_there_was(parts, queues):
    await merging_again(parts)
    before = await parts.jobs.get_job(JOB)
    await parts.pipeline.after_failure(JOB, Stage.MERGE, 1, [], BROKEN)

    job = await parts.jobs.get_job(JOB)
    assert (job.status, job.stage, job.error) == (JobStatus.COMPLETED, Stage.DONE, None)
    assert (job.result, job.speaker_names) == (before.result, before.speaker_names)
    assert job.finished_at is not None
    assert (job.diarization.state, job.diarization.object) == (FAILED, None)
    assert BROKEN.message in job.all_warnings[0]
    assert await kept(parts) == ["transcript-old.json"]
    assert queues.ids() == []
    _, transcript = await parts.tasks.get_task_result("ann", JOB)
    assert len(transcript["turns"]) == 2


async def test_a_merge_that_may_succeed_is_tried_again_before_that(parts, queues):
    await merging_again(parts)
    before = await parts.jobs.get_job(JOB)
    await parts.pipeline.after_failure(JOB, Stage.MERGE, 1, [], QueueUnavailable("Away."))
    assert queues.ids() == [f"{JOB}-merge-0-2"]
    assert await parts.jobs.get_job(JOB) == before
    await parts.pipeline.after_failure(
        JOB, Stage.MERGE, parts.settings.job_max_attempts, [], QueueUnavailable("Away.")
    )
    assert (await parts.jobs.get_job(JOB)).status is JobStatus.COMPLETED


@pytest.mark.parametrize("stage", [Stage.PREPARE, Stage.TRANSCRIBE, Stage.MERGE])
async def test_a_first_run_that_fails_for_good_fails_the_job(parts, stage):
    found = DiarizationModel(state=DONE, object=TURNS)
    await stored(parts, stage=stage, diarization=found)
    await put_turns(parts, TURNS, ANN_THEN_BO)
    await put_turns(parts, f"jobs/{JOB}/audio.wav", [])
    await parts.pipeline.after_failure(JOB, stage, 1, [0], BROKEN)
    job = await parts.jobs.get_job(JOB)
    assert (job.status, job.error.code) == (JobStatus.FAILED, "incomplete_results")
    assert await kept(parts) == []


GONE = NotFound("The stored file is no longer there.")


@pytest.mark.parametrize("diarization", [None, DiarizationModel(state=DONE)])
@pytest.mark.parametrize("stage", [Stage.TRANSCRIBE, Stage.MERGE])
async def test_a_late_failure_changes_nothing_about_a_completed_job(parts, stage, diarization):
    before = await completed(parts, diarization=diarization)
    await parts.pipeline.after_failure(JOB, stage, 1, [0], GONE)
    await parts.pipeline.after_failure("gone", stage, 1, [0], GONE)
    assert await parts.jobs.get_job(JOB) == before


async def test_a_late_failure_of_transcription_does_not_end_a_new_diarization(parts):
    """A consumer that slept while the job was completed: its audio is gone when it wakes up."""
    await completed(parts)
    asked = await parts.speakers.rediarize("ann", JOB, RequestedSpeakers())
    await parts.pipeline.after_failure(JOB, Stage.TRANSCRIBE, 1, [0], GONE)
    assert await parts.jobs.get_job(JOB) == asked
