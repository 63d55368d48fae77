"""Naming speakers and asking for them again: who may, when, and what is refused."""

from __future__ import annotations

import asyncio

import pytest

from core.errors import Conflict, InvalidInput, NotFound
from repositories.models import (
    DiarizationModel,
    DiarizationState,
    JobModel,
    JobStatus,
    Stage,
    UnitKind,
)
from services.dispatcher import Dispatcher
from services.planner import Planner
from services.speaker_service import RequestedSpeakers, SpeakerService, name_in
from tests.services.support import JOB, completed, stored, unit_ids

NOTHING = RequestedSpeakers()
OLD = DiarizationModel(
    revision=5, num_speakers=2, state=DiarizationState.DONE, progress=1.0,
    object="jobs/job-1/d.json", model="demo", warning="Demo.",
)  # fmt: skip
NOT_COMPLETED = sorted(set(JobStatus) - {JobStatus.COMPLETED})


@pytest.mark.parametrize(("before", "revision"), [(None, 1), (DiarizationModel(), 2), (OLD, 6)])
async def test_asking_again_starts_a_diarization_of_its_own(parts, before, revision):
    job = await completed(parts, diarization=before, speaker_names={"SPEAKER_00": "Ann"})
    again = await parts.speakers.rediarize("ann", JOB, RequestedSpeakers(None, 2, 4))
    assert (again.status, again.stage) == (JobStatus.PROCESSING, Stage.DIARIZE)
    assert again.diarization == DiarizationModel(revision=revision, min_speakers=2, max_speakers=4)
    assert again.finished_at is None
    assert (again.result, again.speaker_names) == (job.result, job.speaker_names)
    (unit,) = await parts.units.get_units(JOB)
    assert (unit.kind, unit.queue, unit.revision) == (UnitKind.DIARIZE, "diarization", revision)
    _, transcript = await parts.tasks.get_task_result("ann", JOB)
    assert len(transcript["turns"]) == 2


async def test_a_second_click_is_a_conflict(parts):
    await completed(parts)
    first = await parts.speakers.rediarize("ann", JOB, NOTHING)
    with pytest.raises(Conflict, match="processing") as refused:
        await parts.speakers.rediarize("ann", JOB, RequestedSpeakers(num_speakers=2))
    assert refused.value.error_code == "not_finished"
    assert await parts.jobs.get_job(JOB) == first
    assert await unit_ids(parts) == ["diarize-2"]


async def test_of_many_clicks_at_once_one_counts(parts):
    await completed(parts)
    answers = await asyncio.gather(
        *(parts.speakers.rediarize("ann", JOB, NOTHING) for _ in range(10)),
        return_exceptions=True,
    )
    assert sum(isinstance(answer, JobModel) for answer in answers) == 1
    assert sum(isinstance(answer, Conflict) for answer in answers) == 9
    assert await unit_ids(parts) == ["diarize-2"]


@pytest.mark.parametrize("status", NOT_COMPLETED)
async def test_only_a_completed_task_has_speakers_to_change(parts, status):
    before = await completed(parts, status=status, speaker_names={"SPEAKER_00": "Ann"})
    calls = (
        parts.speakers.rediarize("ann", JOB, NOTHING),
        parts.speakers.name_speakers("ann", JOB, {"SPEAKER_00": "Bo"}),
        parts.speakers.name_speakers("ann", JOB, {"SPEAKER_09": "Bo"}),
    )
    for call in calls:
        with pytest.raises(Conflict, match=status.value) as refused:
            await call
        assert refused.value.error_code == "not_finished"
    assert await parts.jobs.get_job(JOB) == before
    assert await unit_ids(parts) == []


@pytest.mark.parametrize(("owner", "job_id"), [("bob", JOB), ("", JOB), ("ann", "job-2")])
async def test_a_task_of_another_does_not_exist(parts, owner, job_id):
    before = await completed(parts)
    calls = (
        parts.speakers.rediarize(owner, job_id, NOTHING),
        parts.speakers.name_speakers(owner, job_id, {"SPEAKER_00": "Bo"}),
    )
    for call in calls:
        with pytest.raises(NotFound) as refused:
            await call
        assert refused.value.error_code == "task_not_found"
    assert await parts.jobs.get_job(JOB) == before
    assert await unit_ids(parts) == []


CONTRADICTIONS = [(2, 1, None), (2, None, 4), (2, 2, 2), (None, 3, 2)]


@pytest.mark.parametrize("hints", CONTRADICTIONS)
async def test_hints_that_contradict_each_other_are_refused(parts, hints):
    before = await completed(parts)
    with pytest.raises(InvalidInput) as refused:
        await parts.speakers.rediarize("ann", JOB, RequestedSpeakers(*hints))
    assert refused.value.error_code == "invalid_speakers"
    assert await parts.jobs.get_job(JOB) == before
    assert await unit_ids(parts) == []


@pytest.mark.parametrize(
    "hints", [(), (3,), (None, 2), (None, None, 2), (None, 2, 2), (None, 1, 50)]
)
def test_hints_that_agree_are_taken(hints):
    RequestedSpeakers(*hints).check()


async def test_while_redis_is_away_it_waits_in_the_database(parts, endings, away):
    """Somebody is woken for it later."""
    await completed(parts, diarization=OLD)
    dispatcher = Dispatcher(parts.settings, parts.units, away)
    planner = Planner(parts.jobs, parts.chunks, parts.units, dispatcher, endings)
    asked = await SpeakerService(parts.jobs, planner).rediarize("ann", JOB, NOTHING)
    assert (asked.status, asked.diarization.revision) == (JobStatus.PROCESSING, 6)
    assert await unit_ids(parts) == ["diarize-6"]


async def test_names_are_given_changed_and_taken_away(parts):
    await completed(parts)

    async def labels_after(names: dict[str, str | None]) -> list[str]:
        answered = await parts.speakers.name_speakers("ann", JOB, names)
        assert answered == await parts.jobs.get_job(JOB)
        _, transcript = await parts.tasks.get_task_result("ann", JOB)
        return [speaker["label"] for speaker in transcript["speakers"]]

    assert await labels_after({"SPEAKER_00": "Ann", "SPEAKER_01": "Bo"}) == ["Ann", "Bo"]
    assert await labels_after({"SPEAKER_00": None}) == ["Speaker 1", "Bo"]
    assert await labels_after({"SPEAKER_01": "Bob", "SPEAKER_00": None}) == ["Speaker 1", "Bob"]


@pytest.mark.parametrize("names", [{"SPEAKER_02": "Cy"}, {"SPEAKER_00": "A", "SPEAKER_02": None}])
async def test_names_for_nobody_are_refused_all_of_them(parts, names):
    before = await completed(parts)
    with pytest.raises(InvalidInput, match="no speaker SPEAKER_02") as refused:
        await parts.speakers.name_speakers("ann", JOB, names)
    assert refused.value.error_code == "unknown_speaker"
    assert refused.value.details["speakers"] == ["SPEAKER_00", "SPEAKER_01"]
    assert await parts.jobs.get_job(JOB) == before


async def test_a_transcript_without_speakers_has_nobody_to_name(parts):
    job = await completed(parts)
    nobody = job.result.model_copy(update={"speakers": []})
    await parts.database.get_collection("jobs").delete_one({"_id": JOB})
    await stored(parts, status=JobStatus.COMPLETED, result=nobody)
    with pytest.raises(InvalidInput, match="none") as refused:
        await parts.speakers.name_speakers("ann", JOB, {"SPEAKER_00": "Ann"})
    assert refused.value.error_code == "unknown_speaker"


def test_names_are_shown_in_place_of_labels_and_the_stored_values_stay():
    speakers = [{"id": "SPEAKER_00", "label": "Speaker 1"}, {"id": "SPEAKER_01", "label": "S2"}]
    stored_values = {"text": "Hi.", "speakers": speakers}
    shown = name_in(stored_values, {"SPEAKER_01": "Bo", "SPEAKER_07": "Nobody"})
    assert [speaker["label"] for speaker in shown["speakers"]] == ["Speaker 1", "Bo"]
    assert stored_values["speakers"][1]["label"] == "S2"
    assert name_in({"text": "old"}, {"SPEAKER_00": "Ann"})["speakers"] == []
