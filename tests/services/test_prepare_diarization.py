"""A prepared recording is diarized beside its transcription, if anybody asked and anybody talks."""

from __future__ import annotations

import numpy as np
import pytest

from repositories.models import DiarizationModel, DiarizationState, JobOptions, JobStatus, Stage
from tests.conftest import write_wav
from tests.services.support import JOB, put_audio, stored

DIARIZE = f"{JOB}-diarize-1-1"


async def uploaded(parts, path, **options) -> None:
    asked = JobOptions(model="demo-en", **options)
    fresh = {"status": JobStatus.PENDING, "stage": Stage.PREPARE, "diarization": None}
    await put_audio(parts, path, "source")
    await stored(parts, options=asked, **fresh)


async def test_both_are_queued(parts, queues, short_wav):
    await uploaded(parts, short_wav, diarize=True, min_speakers=2)
    await parts.pipeline.prepare(JOB)
    job = await parts.jobs.get_job(JOB)
    assert job.diarization == DiarizationModel(revision=1, min_speakers=2)
    assert (job.status, job.stage) == (JobStatus.PROCESSING, Stage.TRANSCRIBE)
    assert sorted(queues.ids()) == [DIARIZE, f"{JOB}-transcribe-0-1"]
    assert await parts.jobs.settle_diarization(JOB, 1, DiarizationState.DONE)


async def test_prepared_twice_it_is_queued_once(parts, queues, short_wav):
    await uploaded(parts, short_wav, diarize=True)
    await parts.pipeline.prepare(JOB)
    await parts.pipeline.prepare(JOB)
    assert sorted(queues.ids()) == [DIARIZE, f"{JOB}-transcribe-0-1"]


async def test_it_is_not_queued_where_nobody_asked(parts, queues, short_wav):
    await uploaded(parts, short_wav)
    await parts.pipeline.prepare(JOB)
    assert (await parts.jobs.get_job(JOB)).diarization is None
    assert queues.ids() == [f"{JOB}-transcribe-0-1"]


@pytest.mark.parametrize("diarize", [True, False])
async def test_where_nobody_talks_there_is_only_the_merge(parts, queues, tmp_path, diarize):
    write_wav(tmp_path / "silence.wav", np.zeros(16000 * 12))
    await uploaded(parts, tmp_path / "silence.wav", diarize=diarize)
    await parts.pipeline.prepare(JOB)
    assert (await parts.jobs.get_job(JOB)).diarization is None
    assert queues.ids() == [f"{JOB}-merge-0-1"]
    await parts.merging.merge(JOB)
    assert (await parts.jobs.get_job(JOB)).status is JobStatus.COMPLETED
