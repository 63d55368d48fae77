"""The API dies amid an upload; and fifty clients send the same one."""

import threading
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests.chaos.backend import LONG, Backend, wait_for
from tests.chaos.ledger import Ledger, post
from tests.chaos.recordings import Recording, Recordings


@pytest.fixture(scope="module", autouse=True)
def orphan(shared: Backend) -> Path:
    """What is stored of an upload whose API was killed before it had written the job."""
    path = shared.stack.data_dir / "objects" / "jobs" / uuid.uuid4().hex / "source"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"recording")
    return path


def test_an_upload_that_is_cut_by_a_kill_leaves_nothing(
    backend: Backend, ledger: Ledger, recordings: Recordings
) -> None:
    """kill -9 of the API at half of the body: no job, and no file."""
    recording = recordings.make(2)
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="half.wav"\r\n\r\n'
    content = recording.path.read_bytes()

    def body() -> Iterator[bytes]:
        yield head + content[: len(content) // 2]
        backend.kill("api")
        yield content[len(content) // 2 :] + b"\r\n--x--\r\n"

    with pytest.raises(httpx.TransportError):
        httpx.post(
            f"{backend.url}/api/v1/tasks/upload",
            content=body(),
            headers={"Content-Type": "multipart/form-data; boundary=x"},
        )
    backend.wait_until_well()
    assert backend.database.jobs.count_documents({"source.file_name": "half.wav"}) == 0
    ledger.check_completed(ledger.upload(recording))


def test_fifty_uploads_with_one_key_make_one_task(
    backend: Backend, ledger: Ledger, recordings: Recordings
) -> None:
    """Each is answered 202 with the same task, or 409 and when to ask again."""
    recording, key = recordings.make(1), uuid.uuid4().hex

    def send(_number: int) -> httpx.Response:
        with httpx.Client(base_url=backend.url, timeout=90) as client:
            return post(client, recording, "same", key=key)

    with ThreadPoolExecutor(50) as clients:
        answers = list(clients.map(send, range(50)))

    assert set(Counter(answer.status_code for answer in answers)) <= {202, 409}
    accepted = [answer for answer in answers if answer.status_code == 202]
    (task_id,) = {answer.json()["id"] for answer in accepted}
    assert sum("Idempotent-Replayed" not in answer.headers for answer in accepted) == 1
    for answer in answers:
        if answer.status_code == 409:
            assert answer.json()["code"] == "idempotency_key_in_use"
            assert int(answer.headers["Retry-After"]) > 0
    name = {"source.file_name": recording.path.name}
    assert [job["_id"] for job in backend.database.jobs.find(name)] == [task_id]

    with httpx.Client(base_url=backend.url, timeout=60) as client:
        other = post(client, recordings.make(1), "other", key=key)
    assert other.status_code == 422
    assert other.json()["code"] == "idempotency_key_reused"
    ledger.check_completed(ledger.note(accepted[0], "same", recording))


def test_a_killed_api_leaves_no_object_without_a_task(
    backend: Backend, ledger: Ledger, recordings: Recordings, orphan: Path
) -> None:
    """Killed at any moment of an upload: there is a whole job, or the sweeper removes the rest."""
    recording = recordings.make(1)
    objects = orphan.parent.parent
    for _ in range(6 if LONG else 1):
        before = set(objects.iterdir())
        upload = threading.Thread(target=upload_once, args=(backend, recording))
        upload.start()
        wait_for(lambda before=before: set(objects.iterdir()) - before, "an object is stored")
        backend.kill("api")
        upload.join()
        backend.wait_until_well()
    wait_for(lambda: not orphan.exists(), "the orphan is removed")
    jobs = [job["_id"] for job in backend.database.jobs.find()]
    for job_id in jobs:
        wait_for(lambda job_id=job_id: backend.has_ended(job_id), "each job there is ends")
    if LONG:  # the last orphan has to become old first
        ledger.check_nothing_left()


def upload_once(backend: Backend, recording: Recording) -> None:
    with suppress(httpx.TransportError), httpx.Client(base_url=backend.url, timeout=30) as client:
        post(client, recording, "cut")


@pytest.mark.chaos_long
def test_a_key_can_be_used_again_after_the_api_was_killed_with_it(
    backend: Backend, ledger: Ledger, recordings: Recordings
) -> None:
    """Not at once (the other request may live), but after half a minute."""
    recording, key = recordings.make(1), uuid.uuid4().hex

    def send() -> httpx.Response:
        with httpx.Client(base_url=backend.url, timeout=60) as client:
            return post(client, recording, "again", key=key)

    with backend.tools.held("probing"), ThreadPoolExecutor(1) as clients:
        before = backend.database.upload_keys.count_documents({})
        cut = clients.submit(send)
        wait_for(
            lambda: backend.database.upload_keys.count_documents({}) > before, "the key is claimed"
        )
        backend.kill("api")
        assert isinstance(cut.exception(), httpx.TransportError)
    backend.wait_until_well()

    early = send()
    assert early.status_code == 409
    assert int(early.headers["Retry-After"]) > 0
    answer = wait_for(lambda: a if (a := send()).status_code == 202 else None, "a 202", 45)
    ledger.check_completed(ledger.note(answer, "again", recording))
