"""The object store is slow, away, or cuts connections in the middle of bodies."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import httpx
import pymongo
import pytest

from tests.chaos.backend import Backend, wait_for
from tests.chaos.ledger import Ledger, post
from tests.chaos.proxy import Proxy
from tests.chaos.recordings import Recordings
from tests.conftest import ROOT, free_port, wait_until_ready
from tests.contract.servers import embedded_mongodb, embedded_s3

pytestmark = pytest.mark.chaos_long


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Proxy, dict[str, str]]]:
    """A proxy before an S3 server, and the settings for going through it."""
    with embedded_s3(tmp_path_factory.mktemp("s3")) as server:
        proxy = Proxy(server.endpoint)
        settings = server.as_settings() | {"minio_endpoint": proxy.address}
        yield proxy, {name.upper(): value for name, value in settings.items()}
        proxy.close()


@pytest.fixture(scope="module")
def mongodb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with embedded_mongodb(tmp_path_factory.mktemp("mongodb")) as url:
        yield url


@pytest.fixture(scope="module")
def remote(
    shared: Backend,
    mongodb: str,
    proxy: tuple[Proxy, dict[str, str]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Backend]:
    """Another API and consumer, with that store, beside the Redis of the shared backend."""
    folder, port = tmp_path_factory.mktemp("remote"), free_port()
    own = {
        "DATA_DIR": str(folder),
        "API_PORT": str(port),
        "MONGODB_URL": mongodb,
        "REDIS_PORT": shared.address("REDIS_PORT"),
        "REDIS_PASSWORD": shared.address("REDIS_PASSWORD"),
        "REDIS_DB": "1",
        "JOB_MAX_ATTEMPTS": "2",
    }
    environment = shared.stack.environment | own | proxy[1]
    stack = replace(
        shared.stack, url=f"http://127.0.0.1:{port}", data_dir=folder, environment=environment
    )
    commands = (["start"], ["worker", "--concurrency", "2"])
    with (folder / "log").open("wb") as log:
        processes = [
            subprocess.Popen(
                [sys.executable, str(ROOT / "main.py"), *arguments],
                env=environment, cwd=ROOT, stdout=log, stderr=log,
            )
            for arguments in commands
        ]  # fmt: skip
    backend = Backend(stack, shared.tools)
    backend.database = pymongo.MongoClient(mongodb)["stt"]
    try:
        wait_until_ready(backend.url)
        with backend.watched():
            yield backend
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(60)


@pytest.fixture
def store(remote: Backend, proxy: tuple[Proxy, dict[str, str]]) -> Proxy:
    return proxy[0]


@pytest.fixture
def client(remote: Backend) -> Ledger:
    return Ledger(remote)


def test_a_slow_store_is_waited_for(client: Ledger, store: Proxy, recordings: Recordings) -> None:
    with store.behaving("slow"):
        promise = client.upload(recordings.make(2))
        client.check_completed(promise)
    client.check_once(promise)


def test_an_upload_that_the_store_cuts_off_is_refused_for_now(
    remote: Backend, client: Ledger, store: Proxy, recordings: Recordings
) -> None:
    """503 with Retry-After, nothing left; and the same upload succeeds later."""
    recording = recordings.make(2)
    with store.behaving("cut"), httpx.Client(base_url=remote.url, timeout=60) as sender:
        answer = post(sender, recording, "refused")
    assert store.cuts > 0
    assert (answer.status_code, answer.json()["code"]) == (503, "storage_unavailable")
    assert int(answer.headers["Retry-After"]) > 0
    assert remote.database.jobs.count_documents({"source.file_name": recording.path.name}) == 0
    client.check_completed(client.upload(recording))


@pytest.mark.parametrize("mode", ["away", "cut"])
def test_a_short_outage_is_outlasted(
    remote: Backend, client: Ledger, store: Proxy, recordings: Recordings, mode: str
) -> None:
    """Away, or resetting connections mid-body, until an attempt has failed by it."""
    with remote.tools.held("decoding"):
        promise = client.upload(recordings.make(3), "sleep=0.1")
        wait_for(lambda: list(remote.stack.data_dir.glob("tmp/work-*/source")), "it is decoded")
        store.mode = mode
    wait_for(lambda: remote.failures(promise.id) == 1, "an attempt has failed")
    store.mode = "open"
    client.check_completed(promise)
    client.check_once(promise)


def test_a_long_outage_ends_with_a_named_error(
    remote: Backend, client: Ledger, store: Proxy, recordings: Recordings
) -> None:
    """It can be tried again when the store is back."""
    with remote.tools.held("decoding"):
        promise = client.upload(recordings.make(2))
        wait_for(lambda: list(remote.stack.data_dir.glob("tmp/work-*/source")), "it is decoded")
        store.mode = "away"
    client.wait(promise)
    store.mode = "open"
    job = remote.job(promise.id)
    assert (job["status"], job["error"]["code"]) == ("failed", "storage_unavailable")
    assert job["error"]["retryable"]
    retried = httpx.post(f"{remote.url}/api/v1/tasks/{promise.id}/retry", timeout=30)
    assert retried.status_code == 202
    client.check_completed(promise)
