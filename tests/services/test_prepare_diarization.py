"""A prepared recording is diarized beside its transcription, if anybody asked and anybody talks."""

from __future__ import annotations

import numpy as np
import pytest

from repositories.models import (
    DiarizationModel,
    DiarizationState,
    JobOptions,
    JobStatus,
    Stage,
    UnitKind,
)
from tests.conftest import write_wav
from tests.services.support import JOB, a_unit, put_audio, stored, unit_ids

PREPARE = a_unit(UnitKind.PREPARE)
BOTH = ["diarize-1", "transcribe-0"]


async def uploaded(parts, path, **options) -> None:
    asked = JobOptions(model="demo-en", **options)
    fresh = {"status": JobStatus.PENDING, "stage": Stage.PREPARE, "diarization": None}
    await put_audio(parts, path, "source")
    await stored(parts, options=asked, **fresh)


async def test_both_are_to_be_done(parts, short_wav):
    await uploaded(parts, short_wav, diarize=True, min_speakers=2)
    await parts.pipeline.prepare(PREPARE)
    job = await parts.jobs.get_job(JOB)
    assert job.diarization == DiarizationModel(revision=1, min_speakers=2)
    assert (job.status, job.stage) == (JobStatus.PROCESSING, Stage.TRANSCRIBE)
    assert await unit_ids(parts) == BOTH
    assert await parts.jobs.settle_diarization(JOB, 1, DiarizationState.DONE)


async def test_prepared_twice_it_is_to_be_done_once(parts, short_wav):
    await uploaded(parts, short_wav, diarize=True)
    await parts.pipeline.prepare(PREPARE)
    await parts.pipeline.prepare(PREPARE)
    assert await unit_ids(parts) == BOTH


async def test_it_is_not_done_where_nobody_asked(parts, short_wav):
    await uploaded(parts, short_wav)
    await parts.pipeline.prepare(PREPARE)
    assert (await parts.jobs.get_job(JOB)).diarization is None
    assert await unit_ids(parts) == ["transcribe-0"]


@pytest.mark.parametrize("diarize", [True, False])
async def test_where_nobody_talks_there_is_only_the_merge(parts, tmp_path, diarize):
    write_wav(tmp_path / "silence.wav", np.zeros(16000 * 12))
    await uploaded(parts, tmp_path / "silence.wav", diarize=diarize)
    await parts.pipeline.prepare(PREPARE)
    assert (await parts.jobs.get_job(JOB)).diarization is None
    assert await unit_ids(parts) == ["merge"]
    await parts.merging.merge(a_unit(UnitKind.MERGE))
    assert (await parts.jobs.get_job(JOB)).status is JobStatus.COMPLETED
