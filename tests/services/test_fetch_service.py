"""The stage `fetch`, with everything around it real, the other side included."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.config import Settings
from core.errors import InvalidInput, Unreachable
from core.outgoing import OutgoingClient
from internal.container import Container
from repositories.models import JobModel, JobStatus, Source, Stage, UnitKind, UnitModel
from services.fetch_service import FetchService
from services.planner import Planner
from tests.remote import Remote, a_remote, broken_once, plainly, refusing, unending
from tests.services.support import JOB, a_unit, claimed, kept, stored, unit_ids


@pytest.fixture
def remote() -> Iterator[Remote]:
    with a_remote() as server:
        yield server


def service(parts: Container, planner: Planner, endings, **changes) -> FetchService:
    settings: Settings = parts.settings.model_copy(
        update={"allowed_networks": ["127.0.0.0/8"]} | changes
    )
    outgoing = OutgoingClient(settings)
    return FetchService(settings, parts.jobs, parts.store, outgoing, planner, endings)


@pytest.fixture
def fetching(parts, planner, endings) -> FetchService:
    return service(parts, planner, endings)


async def to_fetch(parts: Container, url: str | None, **fields) -> JobModel:
    """Put a job into the database whose recording is not here yet."""
    source = Source(object=f"jobs/{JOB}/source", file_name="127.0.0.1", url=url)
    defaults = {
        "source": source, "status": JobStatus.PENDING, "stage": Stage.FETCH,
        "duration": None, "diarization": None,
    }  # fmt: skip
    return await stored(parts, **defaults | fields)


def unit() -> UnitModel:
    return a_unit(UnitKind.FETCH)


async def test_a_recording_is_fetched_and_prepared_next(parts, fetching, remote, short_wav):
    url = remote.serve("/talk.wav", plainly(short_wav.read_bytes()))
    await to_fetch(parts, f"{url}?token=secret")

    await fetching.fetch(unit())

    job = await parts.jobs.get_job(JOB)
    assert (job.status, job.stage) == (JobStatus.PROCESSING, Stage.PREPARE)
    assert job.source.file_name == "talk.wav"
    assert job.source.url is None
    assert job.source.sha256 == hashlib.sha256(short_wav.read_bytes()).hexdigest()
    assert job.source.size_bytes == short_wav.stat().st_size
    assert (job.source.format, job.source.duration) == ("wav", 10.0)
    assert await parts.store.read(job.source.object) == short_wav.read_bytes()
    assert job.started_at is not None
    assert job.timings["fetch"] > 0
    assert await unit_ids(parts) == ["prepare"]
    document = await parts.database.get_collection("jobs").find_one({"_id": JOB})
    assert "secret" not in str(document)


async def test_names_are_made_fit_to_be_shown(parts, fetching, remote, short_wav):
    evil = 'attachment; filename="..\\\\..\\\\x/../\tevil.wav"'
    url = remote.serve("/x", plainly(short_wav.read_bytes(), Content_Disposition=evil))
    await to_fetch(parts, url)
    await fetching.fetch(unit())
    assert (await parts.jobs.get_job(JOB)).source.file_name == "evil.wav"


async def test_doing_it_again_changes_nothing(parts, fetching, remote, short_wav):
    await to_fetch(parts, remote.serve("/a", plainly(short_wav.read_bytes())))
    await fetching.fetch(unit())
    before = await parts.jobs.get_job(JOB)
    await fetching.fetch(a_unit(UnitKind.FETCH, holder="another"))
    assert await parts.jobs.get_job(JOB) == before
    assert len(remote.requests) == 1


async def test_two_at_once_do_not_meet(parts, fetching, remote, short_wav):
    """A holder whose lease ended, and the next one: one recording stays, and it is the job's."""
    await to_fetch(parts, remote.serve("/a", plainly(short_wav.read_bytes())))

    await asyncio.gather(
        fetching.fetch(unit()), fetching.fetch(a_unit(UnitKind.FETCH, holder="another"))
    )

    job = await parts.jobs.get_job(JOB)
    assert await kept(parts) == [job.source.object.rpartition("/")[2]]
    assert await parts.store.read(job.source.object) == short_wav.read_bytes()


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "empty_file"),
        (b"<html>log in</html>" * 100, "unsupported_media"),
        (b"#EXTM3U\n#EXT-X-TARGETDURATION:10\nfile:///etc/passwd\n", "unsupported_media"),
    ],
)
async def test_what_is_no_recording(parts, fetching, remote, content, code):
    await to_fetch(parts, remote.serve("/a.mp3", plainly(content, Content_Type="audio/mpeg")))
    with pytest.raises(InvalidInput) as refused:
        await fetching.fetch(unit())
    assert refused.value.error_code == code
    assert await kept(parts) == []


async def test_limits_are_those_of_uploads(parts, planner, endings, remote, short_wav):
    await to_fetch(parts, remote.serve("/a", plainly(short_wav.read_bytes())))
    for limit, code in (
        ({"max_duration_seconds": 5.0}, "audio_too_long"),
        ({"max_upload_bytes": 100_000}, "file_too_large"),
    ):
        with pytest.raises(InvalidInput) as refused:
            await service(parts, planner, endings, **limit).fetch(unit())
        assert refused.value.error_code == code
    assert await kept(parts) == []


async def test_a_server_that_fails_is_asked_again(parts, fetching, remote, short_wav):
    job = await to_fetch(parts, remote.serve("/a", refusing(503)))
    await parts.dispatcher.fetch(job)
    first = await claimed(parts, UnitKind.FETCH)
    with pytest.raises(Unreachable) as failed:
        await fetching.fetch(first)

    await parts.failures.settle(first, failed.value)

    (waiting,) = await parts.units.get_units(JOB)
    assert (waiting.failures, waiting.last_error.code) == (1, "url_unreachable")
    remote.serve("/a", plainly(short_wav.read_bytes()))
    await fetching.fetch(unit())
    assert (await parts.jobs.get_job(JOB)).stage is Stage.PREPARE


async def test_a_refusal_ends_the_job_and_a_retry_fetches_again(parts, fetching, remote, short_wav):
    url = remote.serve("/a", refusing(404))
    job = await to_fetch(parts, f"{url}?token=secret")
    await parts.dispatcher.fetch(job)
    first = await claimed(parts, UnitKind.FETCH)
    with pytest.raises(InvalidInput) as failed:
        await fetching.fetch(first)

    await parts.failures.settle(first, failed.value)

    job = await parts.jobs.get_job(JOB)
    assert (job.status, job.error.code, job.error.retryable) == (
        JobStatus.FAILED, "url_refused", False,
    )  # fmt: skip
    assert "404" in job.error.message
    assert "secret" not in job.error.message
    assert await unit_ids(parts) == []

    again = await parts.tasks.retry_task(job.owner, JOB)

    assert (again.stage, again.attempt) == (Stage.FETCH, 2)
    assert await unit_ids(parts) == ["fetch"]
    remote.serve("/a", plainly(short_wav.read_bytes()))
    await fetching.fetch(await claimed(parts, UnitKind.FETCH))
    assert (await parts.jobs.get_job(JOB)).stage is Stage.PREPARE


async def test_a_retry_after_the_fetch_fetches_nothing(parts, fetching, remote, short_wav):
    await to_fetch(parts, remote.serve("/a", plainly(short_wav.read_bytes())))
    await fetching.fetch(unit())
    job = await parts.jobs.get_job(JOB)
    await parts.tasks.cancel_task(job.owner, JOB)
    assert (await parts.tasks.retry_task(job.owner, JOB)).stage is Stage.PREPARE


@pytest.mark.parametrize("ending", ["cancel_task", "delete_task"])
async def test_what_is_ended_meanwhile_leaves_nothing(
    parts, fetching, remote, short_wav, ending, monkeypatch
):
    """While it is stored: the worst moment."""
    job = await to_fetch(parts, remote.serve("/a", plainly(short_wav.read_bytes())))
    put_file = parts.store.put_file

    async def end_and_put(key: str, path: Path, content_type: str) -> None:
        await getattr(parts.tasks, ending)(job.owner, JOB)
        await put_file(key, path, content_type)

    monkeypatch.setattr(parts.store, "put_file", end_and_put)
    await fetching.fetch(unit())

    assert await kept(parts) == []
    now = await parts.jobs.get_job(JOB)
    assert now is None or now.status is JobStatus.CANCELLED


async def test_being_stopped_leaves_nothing(parts, fetching, remote, short_wav):
    stop = threading.Event()
    await to_fetch(parts, remote.serve("/a", unending(b"RIFF" * 1000, stop)))
    work = asyncio.create_task(fetching.fetch(unit()))
    while not list(parts.settings.temp_dir.glob("*/source")):
        await asyncio.sleep(0.01)

    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    stop.set()

    assert list(parts.settings.temp_dir.iterdir()) == []
    assert await kept(parts) == []


async def test_being_stopped_while_storing_leaves_nothing(
    parts, fetching, remote, short_wav, monkeypatch
):
    await to_fetch(parts, remote.serve("/a", plainly(short_wav.read_bytes())))
    put_file = parts.store.put_file

    async def stop_and_put(key: str, path: Path, content_type: str) -> None:
        asyncio.get_running_loop().call_soon(work.cancel)
        await asyncio.sleep(0.05)
        await put_file(key, path, content_type)
        was_put.set()

    was_put = asyncio.Event()
    monkeypatch.setattr(parts.store, "put_file", stop_and_put)
    work = asyncio.create_task(fetching.fetch(unit()))
    with pytest.raises(asyncio.CancelledError):
        await work
    async with asyncio.timeout(10):
        await was_put.wait()
    assert await kept(parts) == []


async def test_an_ended_job_is_not_fetched(parts, fetching, remote, short_wav):
    url = remote.serve("/a", plainly(short_wav.read_bytes()))
    await to_fetch(parts, url, status=JobStatus.CANCELLED)
    await fetching.fetch(unit())
    assert remote.requests == []


async def test_what_lies_in_the_store_is_looked_into(parts, fetching, short_wav):
    await to_fetch(parts, None)
    key = f"jobs/{JOB}/source"
    await parts.store.put_file(key, short_wav, "audio/wav")

    await fetching.fetch(unit())

    job = await parts.jobs.get_job(JOB)
    assert (job.stage, job.source.object, job.source.format) == (Stage.PREPARE, key, "wav")
    assert job.source.sha256 == hashlib.sha256(short_wav.read_bytes()).hexdigest()
    assert await kept(parts) == ["source"]


async def test_what_grew_in_the_store_is_refused(parts, planner, endings, short_wav):
    await to_fetch(parts, None)
    await parts.store.put_file(f"jobs/{JOB}/source", short_wav, "audio/wav")
    with pytest.raises(InvalidInput) as refused:
        await service(parts, planner, endings, max_upload_bytes=1000).fetch(unit())
    assert refused.value.error_code == "file_too_large"


async def test_fetching_keeps_off_the_lane_of_short_recordings(parts):
    job = await to_fetch(parts, "http://127.0.0.1/a")
    await parts.dispatcher.fetch(job)
    (waiting,) = await parts.units.get_units(JOB)
    assert (waiting.kind, waiting.queue) == (UnitKind.FETCH, "speech")


async def test_a_job_left_without_a_unit_is_fetched_all_the_same(parts, planner):
    await to_fetch(parts, "http://127.0.0.1/a")
    await planner.advance(JOB)
    await planner.advance(JOB)
    assert await unit_ids(parts) == ["fetch"]
    status = await parts.tasks.get_task_status("ann", JOB)
    assert (status.percent, status.queue_position) == (0.0, 1)


async def test_a_broken_download_is_resumed(parts, fetching, remote, short_wav):
    content = short_wav.read_bytes()
    await to_fetch(parts, remote.serve("/a", broken_once(content, 50_000)))
    await fetching.fetch(unit())
    assert (await parts.jobs.get_job(JOB)).source.size_bytes == len(content)
