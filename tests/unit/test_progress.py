"""How much of a job is done and how long it will take, with and without speakers."""

from __future__ import annotations

from datetime import timedelta

import pytest

from core.clock import utc_now
from internal.api.schemas import ProgressOut
from repositories.models import (
    DiarizationModel,
    DiarizationState,
    JobModel,
    JobOptions,
    JobStatus,
    Progress,
    Result,
    Source,
    Stage,
)
from services.task_service import eta_seconds, percent_done

DONE, FAILED = DiarizationState.DONE, DiarizationState.FAILED
RESULT = Result(object="o", language="en", duration=60.0, segments=1, words=2)


def a_job(chunks: int = 0, of: int = 8, **fields) -> JobModel:
    source = Source(object="o", file_name="f", size_bytes=1, sha256="", format="wav", codec="pcm")
    defaults = {
        "id": "1", "owner": "ann", "options": JobOptions(model="m"), "source": source,
        "status": JobStatus.PROCESSING, "stage": Stage.TRANSCRIBE,
        "progress": Progress(chunks_done=chunks, chunks_total=of),
    }  # fmt: skip
    return JobModel(**defaults | fields)


def pending(share: float = 0.0) -> DiarizationModel:
    return DiarizationModel(progress=share)


@pytest.mark.parametrize(
    ("chunks", "diarization", "percent"),
    [
        (0, None, 5.0),
        (2, None, 27.5),
        (8, None, 95.0),
        (0, pending(), 5.0),
        (8, pending(), 50.0),
        (0, pending(0.5), 27.5),
        (4, pending(0.5), 50.0),
        (8, pending(0.75), 83.8),
        (4, DiarizationModel(state=DONE), 72.5),
        (4, DiarizationModel(state=FAILED, progress=0.25), 72.5),
        (8, DiarizationModel(state=DONE), 95.0),
    ],
)
@pytest.mark.parametrize("stage", [Stage.TRANSCRIBE, Stage.DIARIZE])
def test_words_and_speakers_count_the_same(chunks, diarization, percent, stage):
    job = a_job(chunks, stage=stage, diarization=diarization)
    assert percent_done(job) == pytest.approx(percent, abs=0.06)


@pytest.mark.parametrize(
    ("status", "stage", "percent"),
    [
        (JobStatus.PENDING, Stage.PREPARE, 0.0),
        (JobStatus.PROCESSING, Stage.PREPARE, 0.0),
        (JobStatus.PROCESSING, Stage.MERGE, 95.0),
        (JobStatus.COMPLETED, Stage.DONE, 100.0),
    ],
)
@pytest.mark.parametrize("diarization", [None, pending(0.5), DiarizationModel(state=FAILED)])
def test_before_and_after_speakers_make_no_difference(status, stage, percent, diarization):
    assert percent_done(a_job(4, status=status, stage=stage, diarization=diarization)) == percent


def test_it_only_grows_on_the_way():
    way = [
        a_job(stage=Stage.PREPARE),
        *(a_job(at, diarization=pending(at / 10)) for at in range(9)),
        a_job(8, stage=Stage.DIARIZE, diarization=pending(0.8)),
        a_job(8, stage=Stage.DIARIZE, diarization=DiarizationModel(state=DONE)),
        a_job(8, stage=Stage.MERGE, diarization=DiarizationModel(state=DONE)),
        a_job(8, status=JobStatus.COMPLETED, stage=Stage.DONE),
    ]
    percents = [percent_done(job) for job in way]
    assert percents == sorted(percents)
    assert (percents[0], percents[-1]) == (0, 100)


@pytest.mark.parametrize(("share", "percent"), [(0.0, 5.0), (0.5, 50.0), (1.0, 95.0)])
def test_asked_for_again_the_speakers_are_all_the_work(share, percent):
    again = {"stage": Stage.DIARIZE, "result": RESULT, "diarization": pending(share)}
    assert percent_done(a_job(8, **again)) == percent


def begun(seconds_ago: float) -> dict:
    return {"transcribing_since": utc_now() - timedelta(seconds=seconds_ago)}


@pytest.mark.parametrize(
    ("chunks", "diarization", "seconds"),
    [
        (2, None, 300),
        (8, None, 0),
        (4, pending(0.5), 100),
        (8, pending(), 100),
        (0, pending(0.5), 300),
        (4, DiarizationModel(state=DONE), 100 / 3),
        (8, DiarizationModel(state=FAILED), 0),
    ],
)
def test_the_rest_takes_as_long_as_it_has_taken_so_far(chunks, diarization, seconds):
    job = a_job(chunks, diarization=diarization, **begun(100))
    assert eta_seconds(job) == pytest.approx(seconds, abs=1 + seconds / 50)


@pytest.mark.parametrize(
    "fields",
    [
        {},  # not begun
        begun(100),  # nothing is done yet
        begun(100) | {"diarization": pending()},
        begun(100) | {"chunks": 4, "status": JobStatus.COMPLETED, "stage": Stage.DONE},
        begun(100) | {"chunks": 4, "status": JobStatus.FAILED},
        # Asked for again: what the time since the first transcription says is nothing.
        begun(9999) | {"chunks": 8, "result": RESULT, "diarization": pending(0.5)},
    ],
    ids=str,
)
def test_nobody_knows_how_long(fields):
    assert eta_seconds(a_job(**fields)) is None


@pytest.mark.parametrize(
    ("diarization", "percent"),
    [
        (None, None),
        (pending(), 0.0),
        (pending(0.12345), 12.3),
        (pending(1.0), 100.0),
        (DiarizationModel(state=DONE), 100.0),
        (DiarizationModel(state=FAILED, progress=0.5), 100.0),
    ],
)
def test_clients_see_how_far_the_speakers_are(diarization, percent):
    shown = ProgressOut.of(a_job(2, diarization=diarization), eta_seconds=7.5)
    assert shown.diarization_percent == percent
    assert (shown.chunks_done, shown.chunks_total, shown.eta_seconds) == (2, 8, 7.5)
    assert shown.percent == percent_done(a_job(2, diarization=diarization))
