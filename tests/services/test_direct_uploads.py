"""What becomes of direct uploads of which no task is made, or one in the last moment."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from core.clock import utc_now
from core.errors import Conflict, Forbidden, InvalidInput, NotFound
from repositories.direct_upload_repository import DirectUpload
from repositories.models import JobStatus, Stage
from services.upload_service import RequestedOptions
from tests.services.support import JOB, kept, put, stored, unit_ids

ANN = "ann"
ASKED = RequestedOptions(model="demo-en")


async def blocks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def begun(parts, content: bytes = b"RIFF", **changes: object) -> tuple[str, str]:
    """Begin an upload whose bytes are there; returns its id and token."""
    opened = await parts.direct_uploads.open(ANN, "talk.wav", len(content))
    await parts.direct_uploads.receive(opened.upload.id, opened.token, blocks(content))
    if changes:
        uploads = parts.database.get_collection("direct_uploads")
        await uploads.update_one({"_id": opened.upload.id}, {"$set": changes})
    return opened.upload.id, opened.token


def ago(**time_span: float) -> int:
    return round((utc_now() - timedelta(**time_span)).timestamp() * 1000)


async def sweep(parts, upload_id: str) -> None:
    """Sweep when the bytes were put two hours ago."""
    path = parts.settings.objects_dir / "jobs" / upload_id / "source"
    then = time.time() - 7200
    os.utime(path, (then, then))
    await parts.database.get_collection("turns").delete_many({})
    await parts.upkeep.sweep()


async def stored_keys(parts) -> list[str]:
    return [stat.key for stat in await parts.store.list("jobs/")]


async def test_an_upload_that_may_still_become_a_task_is_not_swept_away(parts):
    upload_id, _ = await begun(parts)
    await sweep(parts, upload_id)
    assert await stored_keys(parts) == [f"jobs/{upload_id}/source"]
    job = (await parts.ingestion.from_upload(ANN, upload_id, ASKED)).job
    assert (job.id, job.stage) == (upload_id, Stage.FETCH)
    assert await unit_ids(parts, upload_id) == ["fetch"]


async def test_one_that_expired_vanishes(parts):
    upload_id, _ = await begun(parts, expires_at=ago(minutes=2))
    await sweep(parts, upload_id)
    assert await stored_keys(parts) == []
    assert await parts.database.get_collection("direct_uploads").count_documents({}) == 0


async def test_one_that_has_just_expired_is_left_to_whoever_was_about_to_use_it(parts):
    upload_id, _ = await begun(parts, expires_at=ago(seconds=1))
    await sweep(parts, upload_id)
    assert await stored_keys(parts) == [f"jobs/{upload_id}/source"]


async def test_after_it_expired_nothing_can_be_put_or_made_of_it(parts):
    upload_id, token = await begun(parts, expires_at=ago(seconds=1))
    with pytest.raises(Forbidden):
        await parts.direct_uploads.receive(upload_id, token, blocks(b"RIFF"))
    with pytest.raises(NotFound) as refused:
        await parts.ingestion.from_upload(ANN, upload_id, ASKED)
    assert refused.value.error_code == "upload_not_found"


async def test_a_task_outlives_its_upload(parts):
    upload_id, _ = await begun(parts)
    await parts.ingestion.from_upload(ANN, upload_id, ASKED)
    assert await parts.opened_uploads.count_of(ANN) == 0
    await sweep(parts, upload_id)
    assert await stored_keys(parts) == [f"jobs/{upload_id}/source"]


async def test_another_owners_upload_does_not_exist(parts):
    upload_id, _ = await begun(parts)
    with pytest.raises(NotFound):
        await parts.ingestion.from_upload("bo", upload_id, ASKED)
    await parts.ingestion.from_upload(ANN, upload_id, ASKED)
    with pytest.raises(NotFound):
        await parts.ingestion.from_upload("bo", upload_id, ASKED)


async def test_a_put_that_was_overtaken_by_the_task_changes_nothing(parts):
    upload_id, token = await begun(parts)

    async def overtaken() -> AsyncIterator[bytes]:
        yield b"XX"
        await parts.ingestion.from_upload(ANN, upload_id, ASKED)
        yield b"XX"

    with pytest.raises(Forbidden):
        await parts.direct_uploads.receive(upload_id, token, overtaken())
    assert await parts.store.read(f"jobs/{upload_id}/source") == b"RIFF"


async def test_refused_options_leave_the_upload_to_be_used(parts):
    upload_id, _ = await begun(parts)
    with pytest.raises(InvalidInput):
        await parts.ingestion.from_upload(ANN, upload_id, RequestedOptions(model="none-such"))
    await parts.ingestion.from_upload(ANN, upload_id, ASKED)


async def test_bytes_of_another_size_are_no_upload(parts):
    """Nobody stops a client that puts more into the store itself."""
    upload_id, _ = await begun(parts)
    await put(parts, f"jobs/{upload_id}/source", "x" * 100)
    with pytest.raises(Conflict) as refused:
        await parts.ingestion.from_upload(ANN, upload_id, ASKED)
    assert refused.value.error_code == "upload_incomplete"


async def test_more_bytes_than_accepted_are_removed_at_once(parts):
    settings = parts.settings
    upload_id, _ = await begun(parts)
    await put(parts, f"jobs/{upload_id}/source", "x" * 100)
    parts.direct_uploads._settings = settings.model_copy(update={"max_upload_bytes": 50})
    with pytest.raises(InvalidInput) as refused:
        await parts.ingestion.from_upload(ANN, upload_id, ASKED)
    assert refused.value.error_code == "file_too_large"
    assert await stored_keys(parts) == []


async def test_tokens_are_not_kept(parts):
    upload_id, token = await begun(parts)
    document = await parts.database.get_collection("direct_uploads").find_one({"_id": upload_id})
    assert token not in str(document)
    assert DirectUpload.from_dict(document).token_hash == hashlib.sha256(token.encode()).hexdigest()


async def test_what_a_killed_fetch_stored_is_swept_away_at_the_end(parts):
    """Two versions of a recording: the one that the task uses stays."""
    job = await stored(parts, status=JobStatus.CANCELLED)
    old = time.time() - 7200
    for name in ("source", "source-0123"):
        await put(parts, f"jobs/{JOB}/{name}", "x")
        os.utime(parts.settings.objects_dir / "jobs" / JOB / name, (old, old))
    await parts.upkeep.sweep()
    assert await kept(parts) == [job.source.object.rpartition("/")[2]]


async def test_where_the_store_has_addresses_there_is_none_of_ours(parts, monkeypatch):
    async def presigned_put(key: str, seconds: int) -> str:
        return f"https://minio.example.org/stt/{key}?for={seconds}"

    monkeypatch.setattr(parts.store, "presigned_put", presigned_put)

    opened = await parts.direct_uploads.open(ANN, "talk.wav", 4)

    key = f"jobs/{opened.upload.id}/source"
    assert (opened.url, opened.token) == (f"https://minio.example.org/stt/{key}?for=3600", None)
    for token in ("", "None", opened.upload.id):
        with pytest.raises(Forbidden):
            await parts.direct_uploads.receive(opened.upload.id, token, blocks(b"RIFF"))
    await put(parts, key, "xx")  # four bytes, as JSON
    assert (await parts.ingestion.from_upload(ANN, opened.upload.id, ASKED)).job.id
