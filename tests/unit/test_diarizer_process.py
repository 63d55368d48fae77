"""The process that keeps the diarization model: it answers, crashes, is replaced, and ends."""

import asyncio
import os
import shutil
import signal
import time
import wave
from pathlib import Path

import psutil
import pytest

from core.errors import AppError
from tests.accuracy import diarization_error
from worker.diarizer import DiarizerOptions, SpeakerHints
from worker.diarizer_process import DiarizerClient, DiarizerProcess

ROOT = Path(__file__).resolve().parents[2]
PIPELINE = str(ROOT / "models" / "demo" / "diarization")
SAMPLE = ROOT / "samples" / "meeting.wav"


def start(folder, *, pipeline=PIPELINE, jobs_per_process=100):
    process = DiarizerProcess(
        DiarizerOptions(pipeline), folder, jobs_per_process=jobs_per_process, log_level="WARNING"
    )
    process.ensure_running()
    return process


def pid_of(process):
    """The one child of ours that is a diarizer with this socket; None if there is none."""
    children = [
        child.pid
        for child in psutil.Process().children()
        # Of what has ended, and waits for its parent, the command line cannot be read.
        if child.status() != psutil.STATUS_ZOMBIE
        and "worker.diarizer_server" in " ".join(child.cmdline())
    ]
    return children[-1] if children else None


@pytest.fixture(scope="module")
def diarizer(tmp_path_factory):
    process = start(tmp_path_factory.mktemp("diarizer"))
    yield process
    process.close()


@pytest.fixture
def excerpt(tmp_path):
    """The first 40 s of the sample; a copy for each test, for the answer is put beside it."""
    path = tmp_path / "audio.wav"
    with wave.open(str(SAMPLE)) as source, wave.open(str(path), "wb") as out:
        out.setparams(source.getparams())
        out.writeframes(source.readframes(40 * source.getframerate()))
    return path


@pytest.fixture
def short(tmp_path, short_wav):
    """Ten seconds of it, likewise a copy, where any recording will do."""
    return shutil.copy(short_wav, tmp_path / "short.wav")


def ask(process, wav, hints=None, on_progress=None):
    client = DiarizerClient(process.socket_path)
    return asyncio.run(client.diarize(wav, hints or SpeakerHints(), on_progress))


def test_turns_are_those_of_the_conversation(diarizer, excerpt, sample_truth):
    shares = []

    async def on_progress(share):
        shares.append(share)

    found = ask(diarizer, excerpt, on_progress=on_progress)
    assert diarization_error(sample_truth["turns"], found.turns, seconds=40) < 0.1
    assert shares == sorted(shares)
    assert shares[0] < 0.5 < shares[-1] <= 1
    edges = [edge for turn in found.exclusive for edge in (turn.start, turn.end)]
    assert edges == sorted(edges), "exclusive turns overlap"


@pytest.mark.parametrize("count", [1, 2])
def test_the_number_of_speakers_is_kept_to(diarizer, excerpt, count):
    found = ask(diarizer, excerpt, SpeakerHints(exactly=count))
    assert len({turn.speaker for turn in found.turns}) == count


def test_silence_has_no_speakers(diarizer, tmp_path):
    path = tmp_path / "silence.wav"
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(16000)
        out.writeframes(bytes(2 * 16000 * 12))
    assert ask(diarizer, path).turns == ()


def test_a_file_that_is_no_wav_is_an_error_and_the_next_request_works(diarizer, tmp_path, short):
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"RIFF")
    with pytest.raises(AppError, match="unexpectedly"):
        ask(diarizer, broken)
    assert ask(diarizer, short).turns


def test_a_client_that_hangs_up_frees_the_process(diarizer, excerpt, short):
    before = pid_of(diarizer)

    async def hang_up(_share):
        raise RuntimeError("gone")

    with pytest.raises(RuntimeError, match="gone"):
        ask(diarizer, excerpt, on_progress=hang_up)
    diarizer.settle()
    diarizer.ensure_running()
    assert ask(diarizer, short).turns
    assert pid_of(diarizer) == before


def test_a_killed_process_is_an_error_that_may_pass_and_is_replaced(diarizer, excerpt, short):
    killed = pid_of(diarizer)

    async def kill(_share):
        os.kill(killed, signal.SIGKILL)

    with pytest.raises(AppError, match="crashed") as raised:
        ask(diarizer, excerpt, on_progress=kill)
    assert raised.value.retryable
    wait_until_gone(killed)
    diarizer.ensure_running()
    assert ask(diarizer, short).turns
    assert pid_of(diarizer) != killed


def test_a_process_that_hangs_is_replaced(diarizer, short, monkeypatch):
    # One that is stopped answers neither in three seconds nor in a fraction of one.
    monkeypatch.setattr("worker.diarizer_process._PING_SECONDS", 0.2)
    monkeypatch.setattr("worker.diarizer_process._STOP_SECONDS", 0.2)
    hung = pid_of(diarizer)
    os.kill(hung, signal.SIGSTOP)
    diarizer.settle()
    wait_until_gone(hung)
    diarizer.ensure_running()
    assert ask(diarizer, short).turns


def test_after_so_many_jobs_the_memory_is_given_back(tmp_path, short):
    process = start(tmp_path / "work", jobs_per_process=2)
    try:
        first = pid_of(process)
        for _ in range(2):
            process.ensure_running()
            assert pid_of(process) == first
            ask(process, short)
            process.settle()
        wait_until_gone(first)
    finally:
        process.close()
    assert not list((tmp_path / "work").iterdir())


def test_what_is_missing_is_told_to_whoever_asks(tmp_path, short):
    process = start(tmp_path / "work", pipeline=str(tmp_path / "nowhere"))
    try:
        with pytest.raises(AppError, match="no diarization pipeline") as raised:
            ask(process, short)
        assert raised.value.error_code == "diarization_pipeline_missing"
        assert not raised.value.retryable
    finally:
        process.close()


def wait_until_gone(pid):
    deadline = time.monotonic() + 10
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, f"{pid} still lives"
        time.sleep(0.05)
