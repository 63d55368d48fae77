"""Cutting recordings into chunks: nothing lost, nothing doubled, cuts in pauses."""

import itertools
import tracemalloc
import wave
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.chunking import (
    FRAME_SAMPLES,
    FRAME_SECONDS,
    AudioChunker,
    ChunkingOptions,
    find_speech,
    read_levels,
)
from worker.constants import MAX_CHUNK_SECONDS, SAMPLE_BYTES, SAMPLE_RATE
from worker.errors import InvalidAudio
from worker.media import WAV_HEADER_BYTES, sample_range

ONE_SAMPLE = 1 / SAMPLE_RATE
RNG = np.random.default_rng(20)
SYLLABLES = np.abs(np.sin(np.arange(60 * SAMPLE_RATE) * 2 * np.pi * 2.3 / SAMPLE_RATE)) + 0.03
SPEECH = (0.2 * SYLLABLES * RNG.standard_normal(SYLLABLES.size)).clip(-1, 1)
NOISE = 0.003 * RNG.standard_normal(60 * SAMPLE_RATE)


def speech(seconds):
    """Noise in the rhythm of syllables over a quiet room: never a pause."""
    samples = int(seconds * SAMPLE_RATE)
    return np.resize(SPEECH, samples) + np.resize(NOISE, samples)


def room(seconds):
    return np.resize(NOISE, int(seconds * SAMPLE_RATE))


def nothing(seconds):
    return np.zeros(int(seconds * SAMPLE_RATE))


def write_wav(path, *parts, rate=SAMPLE_RATE, channels=1, width=SAMPLE_BYTES):
    samples = np.concatenate(parts) if parts else np.zeros(0)
    with wave.open(str(path), "wb") as file:
        file.setparams((channels, width, rate, 0, "NONE", ""))
        file.writeframes((samples.clip(-1, 1) * 32767).astype("<i2").tobytes())
    return path


@pytest.fixture(scope="module")
def recording(tmp_path_factory) -> Path:
    """One path for all examples of a property."""
    return tmp_path_factory.mktemp("wav") / "recording.wav"


@pytest.fixture
def wav(tmp_path):
    return lambda *parts, **shape: write_wav(tmp_path / "a.wav", *parts, **shape)


KINDS = {"speech": speech, "room": room, "nothing": nothing}
SECONDS = st.floats(0.05, 2) | st.floats(2, 40)
RECORDINGS = st.lists(st.tuples(st.sampled_from(list(KINDS)), SECONDS), min_size=1, max_size=9)
OPTIONS = st.sampled_from(
    [ChunkingOptions(), ChunkingOptions(max_seconds=12, min_gap=0.2, padding=0.15, overlap=0.5)]
)
# Numbers: fixed duration of so many seconds; None: of the longest allowed.
CUTTING = st.sampled_from(["silence", "silence", None, 9.5, 3])
for_any_recording = settings(max_examples=60, deadline=None)


def write_parts(path, parts):
    return write_wav(path, *[KINDS[kind](seconds) for kind, seconds in parts])


def seconds_of(content):
    return (len(content) - WAV_HEADER_BYTES) / SAMPLE_BYTES / SAMPLE_RATE


def cut(path, options=None, cutting="silence"):
    chunker = AudioChunker(options)
    if cutting == "silence":
        return chunker.chunk_by_silence(path)
    return chunker.chunk_fixed_duration(path, cutting)


@given(parts=RECORDINGS, options=OPTIONS, cutting=CUTTING)
@for_any_recording
def test_cores_hold_every_sample_once(recording, parts, options, cutting):
    content = write_parts(recording, parts).read_bytes()
    chunks = cut(recording, options, cutting)

    assert [chunk.index for chunk in chunks] == list(range(len(chunks)))
    ranges = [sample_range(chunk.core_start, chunk.core_end) for chunk in chunks]
    pieces = [content[offset : offset + length] for offset, length in ranges]
    assert b"".join(pieces) == content[WAV_HEADER_BYTES:]
    assert all(left.core_end == right.core_start for left, right in itertools.pairwise(chunks))
    assert chunks[0].core_start == 0
    assert chunks[-1].core_end == seconds_of(content)


@given(parts=RECORDINGS, options=OPTIONS, cutting=CUTTING)
@for_any_recording
def test_what_the_engine_hears_fits_its_window_and_lies_in_the_recording(
    recording, parts, options, cutting
):
    content = write_parts(recording, parts).read_bytes()
    duration = seconds_of(content)
    for chunk in cut(recording, options, cutting):
        edges = [edge for piece in chunk.pieces for edge in piece]
        assert edges == sorted(edges)
        assert (edges[0], edges[-1]) == (chunk.start, chunk.end)
        assert 0 <= chunk.start <= chunk.end <= duration
        assert chunk.heard_seconds <= options.max_seconds + ONE_SAMPLE
        for start, end in chunk.pieces:
            offset, length = sample_range(start, end)
            assert (offset - WAV_HEADER_BYTES) / SAMPLE_BYTES / SAMPLE_RATE == start
            assert length / SAMPLE_BYTES / SAMPLE_RATE == pytest.approx(end - start, abs=1e-9)
            assert offset + length <= len(content)


@given(parts=RECORDINGS, options=OPTIONS, cutting=CUTTING)
@for_any_recording
def test_all_speech_is_heard(recording, parts, options, cutting):
    flags = find_speech(read_levels(write_parts(recording, parts)))
    heard = np.zeros(flags.size * FRAME_SAMPLES, np.bool_)
    for chunk in cut(recording, options, cutting):
        for start, end in chunk.pieces if chunk.has_speech else ():
            heard[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)] = True
    recorded = np.arange(heard.size) < (recording.stat().st_size - WAV_HEADER_BYTES) // SAMPLE_BYTES
    needed = np.repeat(flags, FRAME_SAMPLES) & recorded
    assert not (needed & ~heard).any()


@given(parts=RECORDINGS, options=OPTIONS)
@for_any_recording
def test_neighbours_overlap_only_where_no_pause_was_found(recording, parts, options):
    flags = find_speech(read_levels(write_parts(recording, parts)))
    for left, right in itertools.pairwise(cut(recording, options)):
        at = left.core_end
        if left.end <= at <= right.start:
            around = flags[int(at / FRAME_SECONDS)]
            assert not around, "a cut without overlap lies in silence"
        else:
            assert at - right.start == pytest.approx(options.overlap, abs=ONE_SAMPLE)
            assert left.end - at == pytest.approx(options.overlap, abs=ONE_SAMPLE)


def test_a_silent_recording_is_one_chunk_that_nobody_transcribes(wav):
    (chunk,) = cut(wav(nothing(200)))
    assert not chunk.has_speech
    assert (chunk.core_start, chunk.core_end) == (0, 200)
    assert chunk.heard_seconds <= MAX_CHUNK_SECONDS


@pytest.mark.parametrize("level", [0.0005, 0.01, 0.3])
def test_steady_noise_is_not_speech(wav, level):
    noise = level * np.random.default_rng(3).standard_normal(90 * SAMPLE_RATE)
    assert not any(chunk.has_speech for chunk in cut(wav(noise)))


def test_levels_cover_the_whole_recording(wav):
    levels = read_levels(wav(np.full(FRAME_SAMPLES, 0.5), nothing(0.02), np.full(160, 0.5)))
    assert levels == pytest.approx([-6.0, -100.0, -9.0], abs=0.1)


def test_a_click_is_not_speech(wav):
    click = np.concatenate([np.full(100, 0.9), np.zeros(FRAME_SAMPLES - 100)])
    assert not any(chunk.has_speech for chunk in cut(wav(room(5), click, room(5))))


def test_speech_is_found_at_its_place(wav):
    flags = find_speech(read_levels(wav(room(3), speech(2), room(3))))
    found = np.flatnonzero(flags) * FRAME_SECONDS
    assert found.min() == pytest.approx(3, abs=0.15)
    assert found.max() == pytest.approx(5, abs=0.15)


def test_speech_without_pause_is_cut_with_a_second_heard_by_both_sides(wav):
    chunks = cut(wav(speech(100)))
    assert len(chunks) == 4
    for left, right in itertools.pairwise(chunks):
        assert left.end - left.core_end == pytest.approx(1, abs=ONE_SAMPLE)
        assert right.core_start - right.start == pytest.approx(1, abs=ONE_SAMPLE)
        assert left.heard_seconds > 25


def test_a_pause_is_the_preferred_place_to_cut(wav):
    left, right = cut(wav(room(1), speech(24), room(0.6), speech(20), room(1)))
    assert 25 < left.core_end < 25.6
    assert left.end <= left.core_end <= right.start


def test_the_longest_pause_near_the_end_of_the_window_wins(wav):
    before = [speech(10), room(1), speech(14), room(0.35), speech(1)]
    left, _ = cut(wav(*before, room(0.8), speech(20)))
    assert left.core_end == pytest.approx(26.35 + 0.8 / 2, abs=0.1)


def test_long_silences_are_neither_heard_nor_cut_from_the_recording(wav):
    chunks = cut(wav(room(40), speech(5), room(60), speech(5), room(40)))
    assert sum(chunk.heard_seconds for chunk in chunks) < 15
    assert chunks[-1].core_end == 150


@pytest.mark.parametrize("seconds", [5, 12.5, 30])
def test_fixed_duration(wav, seconds):
    chunks = AudioChunker().chunk_fixed_duration(wav(speech(65)), seconds)
    steps = {round(chunk.core_end - chunk.core_start, 6) for chunk in chunks[:-1]}
    assert steps == {seconds - 2}
    assert all(chunk.heard_seconds == pytest.approx(seconds) for chunk in chunks[1:-1])


@pytest.mark.parametrize("seconds", [30.5, 2, -4])
def test_fixed_duration_refuses_what_cannot_be_cut(wav, seconds):
    with pytest.raises(ValueError, match="cannot be cut"):
        AudioChunker().chunk_fixed_duration(wav(speech(5)), seconds)


SHAPES = [{"rate": 44100}, {"channels": 2}, {"width": 1}, {"width": 4}]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_other_wavs_are_refused(wav, shape):
    with pytest.raises(InvalidAudio) as caught:
        AudioChunker().validate_audio(wav(speech(1), **shape))
    assert not caught.value.retryable


@pytest.mark.parametrize("content", [b"", b"RIFF", b"not a recording" * 10])
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(InvalidAudio):
        AudioChunker().validate_audio(tmp_path / "a.wav")


def test_a_wav_without_samples_is_empty(wav):
    assert AudioChunker().validate_audio(wav(speech(1.5))) == 1.5
    with pytest.raises(InvalidAudio) as caught:
        AudioChunker().validate_audio(wav())
    assert caught.value.error_code == "empty_file"


def test_memory_does_not_grow_with_the_recording(wav):
    def peak_bytes(minutes):
        path = wav(*[speech(20), room(40)] * minutes)
        tracemalloc.start()
        try:
            cut(path)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    short, long = peak_bytes(5), peak_bytes(20)
    assert long < 60e6
    assert long - short < 5e6
