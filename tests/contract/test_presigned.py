"""Addresses to which anybody may put one object, for a while."""

from __future__ import annotations

import asyncio
import os
from contextlib import nullcontext
from urllib.parse import urlsplit

import httpx
import pytest

from core.errors import Misconfigured
from core.storage import ObjectNotFound, get_storage
from tests.contract.presigned_front import presigned_front
from tests.contract.servers import S3Server

KEY = "jobs/0123456789abcdef/source"


@pytest.fixture
async def public(s3_settings):
    """A store whose clients know it by another name."""
    endpoint = s3_settings.minio_endpoint
    behind = S3Server(
        endpoint, s3_settings.minio_access_key, s3_settings.minio_secret_key.get_secret_value()
    )
    if endpoint == os.environ.get("TEST_MINIO_ENDPOINT"):
        front = nullcontext(f"http://localhost:{endpoint.rpartition(':')[2]}")
    else:
        front = presigned_front(behind)
    with front as url:
        store = get_storage(s3_settings.model_copy(update={"minio_public_url": url}))
        await store.prepare()
        yield store
        await store.delete_prefix("")


@pytest.fixture
async def client():
    async with httpx.AsyncClient(timeout=30, trust_env=False) as client:
        yield client


async def test_anybody_can_put_the_object(public, client):
    url = await public.presigned_put(KEY, 60)
    assert urlsplit(url).hostname == "localhost"

    answer = await client.put(url, content=b"RIFF" * 100_000)

    assert answer.status_code == 200, answer.text
    assert (await public.stat(KEY)).size_bytes == 400_000
    assert await public.read(KEY, 0, 8) == b"RIFFRIFF"


async def test_it_is_good_for_that_object_alone(public, client):
    url = await public.presigned_put(KEY, 60)
    for other in (url.replace("/source", "/transcript"), url.replace("source", "audio.wav")):
        assert (await client.put(other, content=b"x")).status_code == 403
    assert (await client.get(url)).status_code == 403
    assert (await client.delete(url)).status_code == 403
    assert await public.list() == []


async def test_its_time_cannot_be_changed(public, client):
    url = await public.presigned_put(KEY, 60)
    longer = url.replace("X-Amz-Expires=60", "X-Amz-Expires=600")
    assert longer != url
    assert (await client.put(longer, content=b"x")).status_code == 403
    with pytest.raises(ObjectNotFound):
        await public.stat(KEY)


async def test_it_expires(public, client):
    url = await public.presigned_put(KEY, 1)
    await asyncio.sleep(2.1)  # the server counts in whole seconds
    assert (await client.put(url, content=b"x")).status_code == 403


async def test_the_name_that_clients_know_is_part_of_what_is_signed(public, client):
    url = await public.presigned_put(KEY, 60)
    answer = await client.put(url.replace("localhost", "127.0.0.1"), content=b"x")
    assert answer.status_code == 403


async def test_a_store_that_clients_cannot_reach_has_none(store):
    assert await store.presigned_put(KEY, 60) is None


@pytest.mark.parametrize(
    "url",
    ["minio.example.org", "ftp://x", "https://x/prefix", "https://x?a=b", "https://a:b@x", ""],
)
def test_what_is_no_address(make_settings, url):
    settings = make_settings(storage_backend="minio", minio_public_url=url)
    with pytest.raises(Misconfigured, match="MINIO_PUBLIC_URL"):
        get_storage(settings)
