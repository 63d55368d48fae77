"""Documents survive the way through BSON and back, whatever they hold."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from enum import Enum
from typing import Any

import bson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.clock import utc_now
from repositories.models import (
    EPOCH,
    ChunkModel,
    ChunkResult,
    ChunkStatus,
    DiarizationModel,
    DiarizationState,
    JobCreate,
    JobError,
    JobModel,
    JobOptions,
    JobStatus,
    JobUpdate,
    Progress,
    Result,
    Source,
    SpeakerModel,
    Stage,
    UnitCreate,
    UnitKind,
    UnitModel,
    UnitState,
    UploadKey,
    from_milliseconds,
    to_milliseconds,
)
from repositories.webhook_models import DeliveryModel, DeliveryState, WebhookModel

# What BSON can hold: no lone surrogates, no zero bytes in keys, 64-bit integers.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=10)
integers = st.integers(-(2**63), 2**63 - 1)
floats = st.floats(allow_nan=False)
values = st.recursive(
    st.none() | st.booleans() | integers | floats | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=10,
)
moments = st.integers(0, 2**42).map(
    lambda milliseconds: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)
)


def documents(model: type[Any], **more: Any) -> st.SearchStrategy[Any]:
    """Build a document with every field given, so that none is left at its default."""
    kinds = {
        "str": texts, "str | None": st.none() | texts, "bool": st.booleans(),
        "bool | None": st.none() | st.booleans(),
        "int": integers, "int | None": st.none() | integers,
        "float": floats, "float | None": st.none() | floats, "Moment": moments,
        "Moment | None": st.none() | moments, "list[str]": st.lists(texts, max_size=3),
        "dict[str, float]": st.dictionaries(names, floats, max_size=3),
        "dict[str, str]": st.dictionaries(names, texts, max_size=3),
        "list[dict[str, Any]]": st.lists(st.dictionaries(names, values, max_size=4), max_size=3),
        "list[int]": st.lists(integers, max_size=3),
        "list[tuple[float, float]]": st.lists(st.tuples(floats, floats), max_size=3),
    }  # fmt: skip
    hints = {name: hint for base in reversed(model.__mro__)
             for name, hint in vars(base).get("__annotations__", {}).items()}  # fmt: skip
    given = {name: kinds[hints[name]] for name in model.model_fields if name not in more}
    return st.builds(model, **given, **more)


sources = documents(Source)
options = documents(
    JobOptions,
    chunking=st.sampled_from(["silence", "fixed"]),
    task=st.sampled_from(["transcribe", "translate"]),
)
progress, errors, speakers = documents(Progress), documents(JobError), documents(SpeakerModel)
results = documents(Result, speakers=st.lists(speakers, max_size=3))
diarizations = documents(DiarizationModel, state=st.sampled_from(DiarizationState))
jobs = documents(
    JobModel,
    options=options,
    source=sources,
    status=st.sampled_from(JobStatus),
    stage=st.sampled_from(Stage),
    progress=progress,
    result=st.none() | results,
    diarization=st.none() | diarizations,
    error=st.none() | errors,
)
chunks = documents(ChunkModel, status=st.sampled_from(ChunkStatus), error=st.none() | errors)
units = documents(
    UnitModel,
    kind=st.sampled_from(UnitKind),
    state=st.sampled_from(UnitState),
    last_error=st.none() | errors,
)
upload_keys = documents(UploadKey)
webhooks = documents(WebhookModel)
deliveries = documents(DeliveryModel, state=st.sampled_from(DeliveryState))


def through_bson(document: dict[str, Any]) -> dict[str, Any]:
    return bson.decode(bson.encode(document))


def all_values(value: Any):
    yield value
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    for item in inner:
        yield from all_values(item)


@given(jobs)
def test_job_comes_back_equal(job):
    document = job.to_dict()
    assert JobModel.from_dict(through_bson(document)) == job
    assert document["_id"] == job.id
    assert "id" not in document


@given(chunks | units | upload_keys | webhooks | deliveries)
def test_other_documents_come_back_equal(value):
    document = value.to_dict()
    assert type(value).from_dict(through_bson(document)) == value
    assert document["_id"] == value.id
    assert not any(isinstance(inner, Enum | datetime) for inner in all_values(document))


@given(jobs)
def test_documents_hold_plain_values_and_times_as_numbers(job):
    document = job.to_dict()
    assert not any(isinstance(value, Enum | datetime) for value in all_values(document))
    assert document["created_at"] == to_milliseconds(job.created_at)


@given(jobs)
def test_making_a_document_changes_nothing(job):
    before = job.model_copy(deep=True)
    assert job.to_dict() == job.to_dict()
    document = job.to_dict()
    JobModel.from_dict(document)
    assert document == job.to_dict()
    assert job == before


@given(moments)
def test_moments_come_back_to_the_millisecond_in_utc(moment):
    back = from_milliseconds(to_milliseconds(moment))
    assert back == moment
    assert back.utcoffset() == timedelta(0)


@given(moments, st.integers(-14 * 60, 14 * 60))
def test_moments_of_any_zone_are_the_same_number(moment, minutes):
    elsewhere = moment.astimezone(timezone(timedelta(minutes=minutes)))
    assert to_milliseconds(elsewhere) == to_milliseconds(moment)


def test_now_has_milliseconds_only():
    now = utc_now()
    assert now.microsecond % 1000 == 0
    assert abs(datetime.now(UTC) - now) < timedelta(minutes=1)


@given(jobs, st.dictionaries(names, values, max_size=3))
def test_fields_of_newer_versions_are_ignored(job, newer):
    unknown = {f"new_{name}": value for name, value in newer.items()}
    assert JobModel.from_dict(unknown | job.to_dict()) == job


def test_document_without_the_newer_fields_gets_their_defaults():
    source = Source(object="o", file_name="f", size_bytes=1, sha256="", format="wav", codec="pcm")
    create = JobCreate(id="1", owner="ann", options=JobOptions(model="m"), source=source)
    job = JobModel.from_dict(create.to_dict())
    assert (job.status, job.stage, job.warnings) == (JobStatus.PENDING, Stage.PREPARE, [])


def test_a_new_unit_is_open_and_due_at_once():
    create = UnitCreate(id="1-merge", job_id="1", kind=UnitKind.MERGE, queue="q", timeout_seconds=9)
    unit = UnitModel.from_dict(create.to_dict())
    assert (unit.state, unit.holder, unit.not_before) == (UnitState.OPEN, None, EPOCH)
    assert (unit.attempt, unit.failures, unit.crashes, unit.rank) == (0, 0, 0, 0)


def test_update_holds_what_was_set_and_nothing_else():
    assert JobUpdate().to_dict() == {}
    assert JobUpdate(error=None, stage=Stage.DONE).to_dict() == {"error": None, "stage": "done"}
    moment = datetime(2026, 1, 31, tzinfo=UTC)
    assert JobUpdate(finished_at=moment).to_dict() == {"finished_at": to_milliseconds(moment)}


def test_values_in_an_update_are_whole():
    """Queries look for what a document's values hold, defaults included."""
    diarization = DiarizationModel(num_speakers=2)
    update = JobUpdate(progress=Progress(chunks_total=3), diarization=diarization)
    assert update.to_dict() == {
        "progress": {"chunks_done": 0, "chunks_total": 3},
        "diarization": diarization.to_dict(),
    }
    assert diarization.to_dict().keys() == DiarizationModel.model_fields.keys()


def test_update_adds_timings_to_those_of_other_stages():
    assert JobUpdate(timings={"merge": 1.5}).to_dict() == {"timings.merge": 1.5}
    assert JobUpdate(timings={}).to_dict() == {}


@pytest.mark.parametrize("status", JobStatus)
def test_terminal_states(status):
    assert status.is_terminal == (status.value in {"completed", "failed", "cancelled"})


def test_result_of_a_chunk_is_part_of_the_chunk():
    assert set(ChunkResult.model_fields) < set(ChunkModel.model_fields)
