"""Room for another task: limits of open ones, and a disk that is not full."""

from __future__ import annotations

import shutil

import pytest

from core.errors import StorageUnavailable, TooManyTasks
from repositories.models import JobStatus
from tests.services.support import stored


@pytest.fixture
def limits(parts, monkeypatch) -> None:
    monkeypatch.setattr(parts.settings, "max_open_tasks_per_owner", 2)
    monkeypatch.setattr(parts.settings, "max_open_tasks", 3)


async def add(parts, *owners: str, status: JobStatus = JobStatus.PENDING) -> None:
    for owner in owners:
        number = await parts.database.get_collection("jobs").count_documents({})
        await stored(parts, f"job-{number}", owner=owner, status=status)


@pytest.mark.usefixtures("limits")
async def test_there_is_room_up_to_the_limits(parts):
    await parts.admission.check("ann")
    await add(parts, "ann", "bob")
    await parts.admission.check("ann")
    await parts.admission.check("cy")


@pytest.mark.usefixtures("limits")
@pytest.mark.parametrize("status", [JobStatus.PENDING, JobStatus.PROCESSING])
async def test_an_owner_with_too_many_waits_and_others_do_not(parts, status):
    await add(parts, "ann", "ann", status=status)
    with pytest.raises(TooManyTasks, match="2 tasks") as refused:
        await parts.admission.check("ann")
    assert refused.value.error_code == "too_many_tasks"
    assert refused.value.retryable
    await parts.admission.check("bob")


@pytest.mark.usefixtures("limits")
async def test_a_server_with_too_many_turns_everybody_away(parts):
    await add(parts, "ann", "ann", "bob")
    with pytest.raises(TooManyTasks) as refused:
        await parts.admission.check("cy")
    assert refused.value.error_code == "server_busy"


@pytest.mark.usefixtures("limits")
async def test_what_has_ended_takes_no_room(parts):
    for status in (status for status in JobStatus if status.is_terminal):
        await add(parts, "ann", "ann", status=status)
    await parts.admission.check("ann")


async def test_a_disk_that_is_nearly_full_takes_nothing_more(parts, monkeypatch):
    free = shutil.disk_usage(parts.settings.temp_dir).free
    monkeypatch.setattr(parts.settings, "min_free_disk_bytes", free * 2)
    with pytest.raises(StorageUnavailable, match="disk") as refused:
        await parts.admission.check("ann")
    assert refused.value.error_code == "disk_full"
    assert refused.value.retryable
