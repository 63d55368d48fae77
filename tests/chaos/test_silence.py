"""A small file that decodes to a day of silence."""

import subprocess
from pathlib import Path

import httpx
import psutil
import pytest

from tests.chaos.backend import LONG, Backend, wait_for
from tests.chaos.ledger import Ledger, post
from tests.chaos.recordings import Recording
from worker.media import find_ffmpeg

HOURS = 24 if LONG else 1  # ten minutes are allowed here
MOST_MEMORY = 400 << 20


@pytest.fixture(scope="module")
def silence(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recording, Recording]:
    """One that says how long it is, and one that does not."""
    folder: Path = tmp_path_factory.mktemp("silence")
    honest, silent = folder / "honest.flac", folder / "stream.flac"
    source = f"anullsrc=r=8000:cl=mono:d={HOURS * 3600}"
    argv = [find_ffmpeg(), "-loglevel", "error", "-f", "lavfi", "-i", source, "-c:a", "flac"]
    subprocess.run([*argv, "-frame_size", "16384", str(honest)], check=True, timeout=120)
    content = bytearray(honest.read_bytes())
    content[21] &= 0xF0  # the number of samples: 36 bits, of which 0 means unknown
    content[22:26] = bytes(4)
    silent.write_bytes(content)
    return Recording(honest, ()), Recording(silent, ())


def test_a_day_of_silence_is_refused_by_its_header(
    backend: Backend, silence: tuple[Recording, Recording]
) -> None:
    with httpx.Client(base_url=backend.url, timeout=60) as client:
        answer = post(client, silence[0], "honest")
    assert (answer.status_code, answer.json()["code"]) == (413, "audio_too_long")
    assert backend.database.jobs.count_documents({"source.file_name": "honest.flac"}) == 0


def test_a_day_of_silence_that_does_not_say_so_fails_once_and_in_little_memory(
    backend: Backend, ledger: Ledger, silence: tuple[Recording, Recording]
) -> None:
    """It is decoded as far as is allowed; nothing is gained by trying again."""
    most = 0

    def ended() -> bool:
        nonlocal most
        for process in (*backend.work_horses(), *backend.engines()):
            most = max(most, process.memory_info().rss)
        return backend.has_ended(promise.id)

    def attempts(job_id: str) -> list[int]:
        return [unit["attempt"] for unit in backend.history(job_id)]

    with backend.tools.held("decoding"):
        promise = ledger.upload(silence[1])
        wait_for(lambda: ended() or most, "it is about to be decoded")
        wait_for(lambda: attempts(promise.id) == [1], "its first attempt was seen")
    wait_for(ended, "it ends")
    job = backend.job(promise.id)
    assert (job["status"], job["error"]["code"]) == ("failed", "audio_too_long")
    assert not job["error"]["retryable"]
    assert attempts(promise.id) == [1]
    assert 0 < most < MOST_MEMORY
    assert psutil.disk_usage(str(backend.stack.data_dir / "tmp")).used < MOST_MEMORY
    ledger.check_nothing_left()
