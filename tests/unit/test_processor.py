"""The whole pipeline in one process, on recordings whose words are known."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from worker.errors import InvalidAudio
from worker.media import find_ffmpeg
from worker.processor import process_stt_job
from worker.transcriber import TranscribeOptions, WhisperTranscriber

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "samples" / "meeting.wav"


@pytest.fixture
def process():
    model = ROOT / "models" / "demo" / "ggml-demo-en.bin"
    whisper = WhisperTranscriber(str(ROOT / ".tools/whisper-cli"), model, threads=1, beam_size=1)

    async def run(recording, **options):
        language = TranscribeOptions(language="en")
        return await process_stt_job(
            recording, whisper, ffmpeg=find_ffmpeg(), options=language, **options
        )

    return run


@pytest.fixture
def recording(tmp_path):
    """Makes a recording with ffmpeg's arguments before and after its input."""

    def make(before, after=()):
        argv = [find_ffmpeg(), "-v", "error", *before, *after, str(tmp_path / "a.flac")]
        subprocess.run(argv, check=True)
        return tmp_path / "a.flac"

    return make


def words_of(transcript):
    return [word for segment in transcript["segments"] for word in segment["words"]]


def plain(text):
    return "".join(c for c in text.lower() if c.isalnum() or c.isspace()).split()


def assert_sound(transcript):
    words = words_of(transcript)
    edges = [edge for word in words for edge in (word["start"], word["end"])]
    assert edges == sorted(edges)
    assert all(0 <= edge <= transcript["duration"] for edge in edges)
    assert transcript["text"].split() == [word["word"] for word in words]
    assert [segment["id"] for segment in transcript["segments"]] == list(
        range(len(transcript["segments"]))
    )
    for segment in transcript["segments"]:
        assert segment["start"] == segment["words"][0]["start"]
        assert segment["end"] == segment["words"][-1]["end"]


@pytest.mark.parametrize("chunking", ["silence", "fixed"])
async def test_the_sample(process, chunking):
    truth = json.loads((ROOT / "samples" / "meeting.json").read_text())
    transcript = await process(SAMPLE, chunking=chunking, model_name="demo-en")

    assert_sound(transcript)
    assert transcript["duration"] == pytest.approx(truth["duration"], abs=0.01)
    assert (transcript["language"], transcript["models"]) == ("en", {"transcription": "demo-en"})
    assert transcript["warnings"] == []
    assert set(transcript["quality"]["real_time_factor"]) == {"prepare", "transcribe", "merge"}
    assert transcript["quality"]["coverage"] > 0.95

    spoken = [word for turn in truth["turns"] for word in turn["words"]]
    vocabulary = {word for item in spoken for word in plain(item["word"])}
    heard = plain(transcript["text"])
    assert len(heard) == pytest.approx(len(spoken), rel=0.05)
    assert np.mean([word in vocabulary for word in heard]) > 0.9
    # What is said stands where it is said: each half holds its own words.
    middle = truth["duration"] / 2
    for part in (lambda word: word["start"] < middle, lambda word: word["start"] >= middle):
        expected = {text for item in spoken if part(item) for text in plain(item["word"])}
        found = {
            text for item in words_of(transcript) if part(item) for text in plain(item["word"])
        }
        assert len(expected & found) > 0.8 * len(expected)


async def test_speech_between_long_silences(process, recording):
    silences = ["-af", "adelay=35s,apad=pad_dur=20"]
    path = recording(["-t", "3.5", "-i", str(SAMPLE)], silences)
    transcript = await process(path)
    assert_sound(transcript)
    assert transcript["duration"] == pytest.approx(58.5, abs=0.1)
    assert "morning" in plain(transcript["text"])
    assert all(35 <= word["start"] <= word["end"] <= 38.6 for word in words_of(transcript))


async def test_a_recording_without_speech(process, recording):
    transcript = await process(recording(["-f", "lavfi", "-i", "anullsrc", "-t", "40"]))
    assert (transcript["segments"], transcript["text"]) == ([], "")
    assert transcript["warnings"] == ["No speech was found in the recording."]


async def test_a_damaged_recording_is_transcribed_with_a_warning(process, recording, tmp_path):
    path = recording(["-t", "8.6", "-i", str(SAMPLE)])
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2 : len(damaged) * 3 // 4] = bytes(len(damaged) // 4)
    path.write_bytes(damaged)
    transcript = await process(path)
    assert_sound(transcript)
    assert "morning" in plain(transcript["text"])
    (warning,) = transcript["warnings"]
    assert "could not be decoded" in warning


async def test_a_recording_that_is_too_long(process):
    with pytest.raises(InvalidAudio) as caught:
        await process(SAMPLE, max_seconds=100)
    assert caught.value.error_code == "audio_too_long"
