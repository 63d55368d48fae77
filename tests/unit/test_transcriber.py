"""whisper-cli: its command, its results as they come, and what happens when it misbehaves."""

import asyncio
import signal
import stat
import sys
import wave
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from tests.german_model import write_german_model
from worker.errors import EngineFailed, EngineMissing
from worker.transcriber import Clip, TranscribeOptions, WhisperTranscriber

ROOT = Path(__file__).resolve().parents[2]
WHISPER = ROOT / ".tools" / "whisper-cli"
MODEL = ROOT / "models" / "demo" / "ggml-demo-en.bin"
OPTIONS = TranscribeOptions(language="en")


def engine(executable=WHISPER, model=MODEL, **options):
    return WhisperTranscriber(str(executable), model, threads=1, beam_size=1, **options)


def test_the_command():
    clips = [Clip(0, Path("/w/000000.wav"), 3.0), Clip(7, Path("/w/000007.wav"), 4.0)]
    transcriber = WhisperTranscriber("whisper-cli", Path("/m/base.bin"), threads=3, beam_size=2)
    assert transcriber.build_command(clips, TranscribeOptions("de")) == [
        *["whisper-cli", "-m", "/m/base.bin", "-t", "3", "-bs", "2", "-bo", "2"],
        *["-l", "de", "-tp", "0", "-ojf", "-np", "-mc", "0"],
        *["-f", "/w/000000.wav", "-of", "/w/000000", "-f", "/w/000007.wav", "-of", "/w/000007"],
    ]


@pytest.fixture(scope="session")
def german(tmp_path_factory):
    """A model of several languages that knows one word of German, and its translation."""
    path = tmp_path_factory.mktemp("models") / "ggml-german.bin"
    write_german_model(path)
    return path


async def test_the_language_is_found_with_a_confidence_for_each_clip(clips, german):
    results = await collect(engine(model=german), clips, TranscribeOptions("auto"))
    assert [result.language for result in results] == ["de", "de"]
    assert all(0.99 < result.language_confidence <= 1 for result in results)


async def test_a_language_that_is_told_has_no_confidence(clips, german):
    (result,) = await collect(engine(model=german), clips[:1], TranscribeOptions("fr"))
    assert (result.language, result.language_confidence) == ("fr", None)


@pytest.mark.parametrize(("task", "text"), [("transcribe", "Hallo"), ("translate", "Hello")])
async def test_the_task(clips, german, task, text):
    options = TranscribeOptions("de", task=task)
    (result,) = await collect(engine(model=german), clips[:1], options)
    assert [segment.text for segment in result.segments] == [text]


def test_the_temperature_is_handed_over():
    options = replace(OPTIONS, temperature=0.4)
    command = engine().build_command([Clip(0, Path("a.wav"), 1.0)], options)
    assert command[command.index("-tp") + 1] == "0.4"


@pytest.mark.parametrize("prompt", ["Names: Ada, Grace", "-i", "--help", "$(id)", "a'b\"; c\n"])
def test_a_prompt_is_one_argument(prompt):
    command = engine().build_command([Clip(0, Path("a.wav"), 1.0)], replace(OPTIONS, prompt=prompt))
    at = command.index("--prompt")
    assert command[at : at + 5] == ["--prompt", prompt, "--carry-initial-prompt", "-mc", "224"]
    assert command.count(prompt) == 1


@pytest.fixture
def clips(tmp_path):
    """The sample's first two stretches of speech."""
    made = []
    with wave.open(str(ROOT / "samples" / "meeting.wav")) as source:
        for index, seconds in enumerate([3.5, 2.9]):
            path = tmp_path / f"{index:06}.wav"
            with wave.open(str(path), "wb") as target:
                target.setparams(source.getparams())
                target.writeframes(source.readframes(int(seconds * 16000)))
            made.append(Clip(index, path, seconds))
    return made


@pytest.fixture(autouse=True)
def no_process_left():
    yield
    assert engines() == []


def engines():
    return [child for child in psutil.Process().children() if child.name() == "whisper-cli"]


async def running_engine():
    """Return the subprocess as soon as there is one."""
    while not (found := engines()):
        await asyncio.sleep(0.01)
    return found[0]


async def collect(transcriber, clips, options=OPTIONS):
    return [result async for result in transcriber.transcribe(clips, options)]


async def test_clips_come_in_order(clips):
    results = await collect(engine(), clips)
    assert [result.index for result in results] == [0, 1]
    said = ["".join(segment.text for segment in result.segments).lower() for result in results]
    assert "morning" in said[0]
    assert "agenda" in said[1]


async def test_no_clips_need_no_engine():
    assert await collect(engine(executable="/nowhere"), []) == []


async def test_a_prompt_that_looks_like_an_option_is_a_prompt(clips):
    results = await collect(engine(), clips[:1], replace(OPTIONS, prompt="--help"))
    assert len(results) == 1


async def test_a_killed_engine_can_be_retried(clips):
    async with aclosing(engine().transcribe(clips, OPTIONS)) as results:
        assert (await anext(results)).index == 0
        (await running_engine()).send_signal(signal.SIGKILL)
        with pytest.raises(EngineFailed) as caught:
            await anext(results)
    assert (caught.value.error_code, caught.value.retryable) == ("engine_killed", True)


async def test_a_hanging_engine_is_stopped(clips):
    attempt = asyncio.create_task(collect(engine(chunk_timeout_seconds=1), clips))
    (await running_engine()).send_signal(signal.SIGSTOP)
    with pytest.raises(EngineFailed) as caught:
        await attempt
    assert (caught.value.error_code, caught.value.retryable) == ("engine_timeout", True)
    assert engines() == []


async def test_leaving_early_ends_the_engine(clips):
    async with aclosing(engine().transcribe(clips, OPTIONS)) as results:
        await anext(results)
        assert engines() != []
    assert engines() == []


async def test_cancelling_ends_the_engine(clips):
    attempt = asyncio.create_task(collect(engine(), clips))
    await running_engine()
    attempt.cancel()
    with pytest.raises(asyncio.CancelledError):
        await attempt
    assert engines() == []


async def test_a_clip_that_is_no_audio_fails(clips):
    clips[0].path.write_text("not audio, though whisper-cli ends with status 0")
    with pytest.raises(EngineFailed) as caught:
        await collect(engine(), clips)
    assert caught.value.error_code == "engine_failed"


@pytest.mark.parametrize("content", [None, "", "no program"], ids=["none", "mode", "format"])
async def test_a_missing_executable(clips, tmp_path, content):
    executable = tmp_path / "whisper-cli"
    if content is not None:
        executable.write_text(content)
        executable.chmod(stat.S_IRWXU if content else stat.S_IRUSR)
    with pytest.raises(EngineMissing) as caught:
        await collect(engine(executable), clips)
    assert not caught.value.retryable


@pytest.mark.parametrize(
    ("content", "problem"), [(None, "is missing"), (b"garbage" * 1000, "cannot load")]
)
async def test_an_unusable_model(clips, tmp_path, content, problem):
    model = tmp_path / "ggml-any.bin"
    if content:
        model.write_bytes(content)
    with pytest.raises(EngineMissing, match=problem) as caught:
        await collect(engine(model=model), clips)
    assert not caught.value.retryable


async def test_an_unknown_language_is_refused(clips):
    with pytest.raises(ValueError, match="tlh"):
        await collect(engine(), clips, TranscribeOptions("tlh"))


async def test_output_is_read_once_it_is_whole(clips, tmp_path):
    """An engine that writes its JSON bit by bit, with a character split between tokens."""
    tokens = b'[{"text": " caf", "p": 1}, {"text": "\xc3", "p": 1}, {"text": "\xa9", "p": 1}]'
    segment = b'{"offsets": {"from": 0, "to": 900}, "tokens": ' + tokens + b"}"
    content = b'{"result": {"language": "fr"}, "transcription": [' + segment + b"]}"
    (tmp_path / "content").write_bytes(content)
    slow = tmp_path / "slow"
    slow.write_text(
        f"#!{sys.executable}\n"
        "import pathlib, sys, time\n"
        f"content = pathlib.Path({str(tmp_path / 'content')!r}).read_bytes()\n"
        "with open(sys.argv[sys.argv.index('-of') + 1] + '.json', 'wb') as file:\n"
        "    for at in range(0, len(content), 20):\n"
        "        file.write(content[at : at + 20]); file.flush(); time.sleep(0.02)\n"
    )
    slow.chmod(stat.S_IRWXU)
    (result,) = await collect(engine(slow), clips[:1])
    assert [segment.text for segment in result.segments] == ["café"]
