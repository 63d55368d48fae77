"""A task whose speakers nobody looks for says so, for as long as that is true."""

from __future__ import annotations

import pytest

from core.messaging import DIARIZATION_QUEUE, SPEECH_QUEUE
from internal.api.schemas import TaskStatusOut
from repositories.models import DiarizationModel, DiarizationState, JobStatus, Stage
from tests.services.support import JOB, stored

NOTE = "No consumer serves the queue `diarization`"


async def warnings_of(parts) -> list[str]:
    return TaskStatusOut.of_status(await parts.tasks.get_task_status("ann", JOB)).warnings


@pytest.mark.parametrize("stage", [Stage.TRANSCRIBE, Stage.DIARIZE])
async def test_no_consumer(parts, stage):
    await stored(parts, stage=stage, warnings=["Damaged."])
    first, second = await warnings_of(parts)
    assert first == "Damaged."
    assert second.startswith(NOTE)
    assert "worker --queue diarization" in second
    assert (await parts.jobs.get_job(JOB)).all_warnings == ["Damaged."], "it is not kept"


@pytest.mark.parametrize(("queue", "told"), [(DIARIZATION_QUEUE, False), (SPEECH_QUEUE, True)])
async def test_with_a_consumer(parts, register, queue, told):
    register(queue)
    await stored(parts)
    assert bool(await warnings_of(parts)) == told


@pytest.mark.parametrize(
    "fields",
    [
        {"diarization": None},
        {"diarization": DiarizationModel(progress=0.1)},
        {"diarization": DiarizationModel(state=DiarizationState.DONE)},
        {"diarization": DiarizationModel(state=DiarizationState.FAILED)},
        {"status": JobStatus.COMPLETED},
        {"status": JobStatus.FAILED},
        {"status": JobStatus.CANCELLED},
    ],
    ids=str,
)
async def test_nobody_waits_for_one(parts, fields):
    await stored(parts, **fields)
    assert await warnings_of(parts) == []
