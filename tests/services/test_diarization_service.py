"""The diarization stage: what it stores, what it drops, and what it never costs."""

from __future__ import annotations

import json
import wave

import pytest

from core.errors import NotFound
from core.messaging import DIARIZATION_QUEUE
from repositories.models import (
    DiarizationModel,
    DiarizationState,
    JobError,
    JobStatus,
    JobUpdate,
    Stage,
    UnitKind,
    UnitModel,
)
from services.diarization_service import first_diarization
from services.speaker_service import RequestedSpeakers
from tests.services.support import (
    ANN_THEN_BO,
    JOB,
    StandInDiarizer,
    a_unit,
    completed,
    kept,
    put_audio,
    store_chunks,
    stored,
    unit_ids,
)
from worker.diarizer import SpeakerHints
from worker.errors import EngineFailed
from worker.transcript import Diarization

DONE, FAILED = DiarizationState.DONE, DiarizationState.FAILED
MISSING = JobError(code="no_pipeline", message="There is no pipeline.", retryable=False)


def unit(revision: int = 1) -> UnitModel:
    return a_unit(UnitKind.DIARIZE, revision=revision, queue=DIARIZATION_QUEUE)


@pytest.fixture
async def audio(parts, short_wav) -> None:
    await put_audio(parts, short_wav)


async def diarization_of(parts) -> DiarizationModel:
    return (await parts.jobs.get_job(JOB)).diarization


@pytest.mark.usefixtures("audio")
async def test_turns_are_stored_and_the_merge_begins(parts):
    asked = DiarizationModel(min_speakers=2, max_speakers=4)
    await stored(parts, diarization=asked, timings={"prepare": 1.5})
    await store_chunks(parts)
    diarizer = StandInDiarizer(ANN_THEN_BO)
    await parts.diarization.diarize(unit(), diarizer)

    job = await parts.jobs.get_job(JOB)
    assert (job.stage, job.diarization.state) == (Stage.MERGE, DONE)
    values = json.loads(await parts.store.read(job.diarization.object))
    assert Diarization.from_dict(values).turns == tuple(ANN_THEN_BO)
    assert diarizer.hints == [SpeakerHints(None, 2, 4)]
    assert diarizer.heard == [(16000, 1, 160_000)]
    assert job.timings.keys() == {"prepare", "diarize"}
    assert await unit_ids(parts) == ["merge"]


@pytest.mark.usefixtures("audio")
async def test_another_attempt_after_the_turns_were_stored_only_adds_the_merge(parts):
    """Whoever settled it may have died right before that."""
    await stored(parts, diarization=DiarizationModel(state=DONE, object="jobs/job-1/d.json"))
    await store_chunks(parts)
    diarizer = StandInDiarizer(ANN_THEN_BO)
    await parts.diarization.diarize(unit(), diarizer)
    assert diarizer.hints == []
    assert await unit_ids(parts) == ["merge"]
    assert (await diarization_of(parts)).object == "jobs/job-1/d.json"


@pytest.mark.parametrize("revision", [1, 3])
@pytest.mark.usefixtures("audio")
async def test_a_diarization_that_was_replaced_does_nothing(parts, revision):
    before = await stored(parts, diarization=DiarizationModel(revision=2))
    await store_chunks(parts)
    diarizer = StandInDiarizer(ANN_THEN_BO)
    await parts.diarization.diarize(unit(revision), diarizer)
    await parts.diarization.give_up(before, revision, MISSING)
    assert diarizer.hints == []
    assert await diarization_of(parts) == before.diarization
    assert await unit_ids(parts) == ["diarize-2"], "the one that is wanted"
    assert await kept(parts) == ["audio.wav"]


@pytest.mark.parametrize("status", sorted(set(JobStatus) - {JobStatus.PROCESSING}))
@pytest.mark.usefixtures("audio")
async def test_a_job_that_is_not_being_processed_costs_no_engine_time(parts, status):
    before = await stored(parts, status=status)
    await store_chunks(parts)
    diarizer = StandInDiarizer(ANN_THEN_BO)
    await parts.diarization.diarize(unit(), diarizer)
    assert diarizer.hints == []
    assert await parts.jobs.get_job(JOB) == before


@pytest.mark.usefixtures("audio")
async def test_turns_that_come_too_late_are_dropped(parts):
    """The client's revision is asked for while the engine works on an earlier one."""
    await stored(parts, diarization=DiarizationModel(revision=1))
    newer = DiarizationModel(revision=2, num_speakers=3)

    async def replaced(on_progress):
        await parts.jobs.update_job(JOB, JobUpdate(diarization=newer))
        await on_progress(0.75)

    await parts.diarization.diarize(unit(), StandInDiarizer(ANN_THEN_BO, meanwhile=replaced))
    assert await diarization_of(parts) == newer
    assert await kept(parts) == ["audio.wav"]
    assert (await parts.jobs.get_job(JOB)).timings == {}


@pytest.mark.usefixtures("audio")
async def test_a_task_deleted_meanwhile_leaves_nothing(parts):
    await stored(parts)
    await store_chunks(parts)

    async def deleted(_on_progress):
        await parts.tasks.delete_task("ann", JOB)

    await parts.diarization.diarize(unit(), StandInDiarizer(ANN_THEN_BO, meanwhile=deleted))
    assert await parts.jobs.get_job(JOB) is None
    assert await kept(parts) == []
    assert await unit_ids(parts) == []


@pytest.mark.usefixtures("audio")
async def test_progress_can_be_seen_while_it_works(parts):
    await stored(parts)
    seen = []

    async def look(on_progress):
        await on_progress(0.25)
        await on_progress(0.5)  # too soon after the first to be written down
        seen.append((await diarization_of(parts)).progress)

    await parts.diarization.diarize(unit(), StandInDiarizer(meanwhile=look))
    assert seen == [0.25]


@pytest.mark.usefixtures("audio")
async def test_a_failure_is_the_callers_to_judge(parts):
    before = await stored(parts)
    await store_chunks(parts)
    crash = EngineFailed("The diarizer crashed or was killed.", code="diarization_failed")
    with pytest.raises(EngineFailed, match="crashed"):
        await parts.diarization.diarize(unit(), StandInDiarizer(error=crash))
    assert await diarization_of(parts) == before.diarization
    assert await unit_ids(parts) == []
    assert await kept(parts) == ["audio.wav"]


async def test_audio_of_a_finished_task_is_made_from_the_upload_again(parts, short_wav, tmp_path):
    """Stored as 8 kHz stereo here: the engine gets 16 kHz mono all the same."""
    with wave.open(str(short_wav)) as file, wave.open(str(tmp_path / "other.wav"), "wb") as out:
        out.setparams((2, 2, 8000, 0, "NONE", ""))
        out.writeframes(file.readframes(8 * 16000))
    await put_audio(parts, tmp_path / "other.wav", "source")
    await completed(parts)
    await parts.speakers.rediarize("ann", JOB, RequestedSpeakers(num_speakers=2))
    diarizer = StandInDiarizer(ANN_THEN_BO)
    await parts.diarization.diarize(unit(2), diarizer)
    assert diarizer.heard == [(16000, 1, 8 * 16000)]
    assert diarizer.hints == [SpeakerHints(exactly=2)]
    assert (await diarization_of(parts)).state is DONE
    assert "audio.wav" not in await kept(parts)


async def test_without_audio_and_upload_it_cannot_be_done(parts):
    await stored(parts)
    with pytest.raises(NotFound, match="no longer there"):
        await parts.diarization.diarize(unit(), StandInDiarizer(ANN_THEN_BO))


async def test_given_up_the_job_goes_on_without_speakers(parts, planner):
    before = await stored(parts)
    await store_chunks(parts)
    await parts.diarization.give_up(before, 1, MISSING)
    await planner.advance(JOB)
    job = await parts.jobs.get_job(JOB)
    assert (job.status, job.stage) == (JobStatus.PROCESSING, Stage.MERGE)
    assert job.diarization.state is FAILED
    assert job.all_warnings == [f"There are no speaker labels: {MISSING.message}"]
    await parts.merging.merge(a_unit(UnitKind.MERGE))
    _, transcript = await parts.tasks.get_task_result("ann", JOB)
    assert transcript["text"] == "Good morning. Thank you."
    assert transcript["warnings"] == job.all_warnings


async def test_given_up_a_second_time_the_transcript_stays(parts, short_wav):
    before = await completed(parts, speaker_names={"SPEAKER_00": "Ann"}, warnings=["Damaged."])
    await put_audio(parts, short_wav, "source")
    asked = await parts.speakers.rediarize("ann", JOB, RequestedSpeakers(num_speakers=2))
    await parts.diarization.give_up(asked, 2, MISSING)

    job = await parts.jobs.get_job(JOB)
    assert (job.status, job.stage) == (JobStatus.COMPLETED, Stage.DONE)
    assert job.finished_at is not None
    assert (job.result, job.speaker_names) == (before.result, before.speaker_names)
    assert job.diarization.state is FAILED
    first, second = job.all_warnings
    assert first == "Damaged."
    assert MISSING.message in second
    assert "Nothing has changed" in second
    assert await kept(parts) == ["source", "transcript-old.json"]
    again = await parts.speakers.rediarize("ann", JOB, RequestedSpeakers())
    assert (again.diarization.revision, again.all_warnings) == (3, ["Damaged."])


@pytest.mark.parametrize("status", sorted(set(JobStatus) - {JobStatus.PROCESSING}))
async def test_giving_up_late_changes_nothing(parts, status):
    before = await stored(parts, status=status)
    await parts.diarization.give_up(before, 1, MISSING)
    running = before.model_copy(update={"status": JobStatus.PROCESSING})
    await parts.diarization.give_up(running, 1, MISSING)  # it ended since the job was read
    assert await parts.jobs.get_job(JOB) == before


async def test_what_the_upload_asked_for_is_the_first_diarization(parts):
    job = await stored(parts, diarization=None)
    hints = {"num_speakers": 3, "min_speakers": None, "max_speakers": None}
    wanting = job.options.model_copy(update=hints)
    asked = first_diarization(job.model_copy(update={"options": wanting}))
    assert asked == DiarizationModel(revision=1, **hints)
    without = job.options.model_copy(update={"diarize": False})
    assert first_diarization(job.model_copy(update={"options": without})) is None
