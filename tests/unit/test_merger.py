"""Merging chunk transcripts: every word once, in order, inside the recording."""

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.constants import SAMPLE_RATE
from worker.errors import IncompleteResults
from worker.merger import ResultMerger
from worker.transcript import Chunk, ChunkTranscript, Segment, Word

OVERLAP = 1.0


def segment(*words, confidence=0.9):
    """Return a segment of (text, start, end)."""
    made = tuple(Word(text, start, end, confidence) for text, start, end in words)
    text = " ".join(word.word for word in made)
    return Segment(made[0].start, made[-1].end, text, made, confidence)


def sentence(text, start=0.0, seconds=None, confidence=0.9):
    """Return a segment of these words, evenly over `seconds` (default: unhurried)."""
    words = text.split()
    step = (seconds if seconds is not None else len(words) * 0.4) / len(words)
    times = [start + index * step for index in range(len(words) + 1)]
    return segment(
        *((word, *at) for word, at in zip(words, itertools.pairwise(times), strict=True)),
        confidence=confidence,
    )


def heard(index, *segments, language="en", **more):
    return ChunkTranscript(index, language, tuple(segments), **more)


def merge(chunks, results, duration=None):
    return ResultMerger().merge_chunks(chunks, results, duration or chunks[-1].core_end)


def words_of(transcript):
    return [word for part in transcript.segments for word in part.words]


def texts_of(transcript):
    return [word.word for word in words_of(transcript)]


def assert_sound(transcript):
    """Words are in order, inside the recording, and what segments say of them is true."""
    edges = [edge for word in words_of(transcript) for edge in (word.start, word.end)]
    assert edges == sorted(edges)
    assert all(0 <= edge <= transcript.duration for edge in edges)
    for part in transcript.segments:
        assert (part.start, part.end) == (part.words[0].start, part.words[-1].end)
        assert part.text == " ".join(word.word for word in part.words)
        assert 0 <= part.confidence <= 1


@st.composite
def cut_in_pauses(draw):
    """Chunks that overlap nowhere, trimmed and with skipped silences; engine words for each."""
    lengths = draw(st.lists(st.integers(2000, 20 * SAMPLE_RATE), min_size=1, max_size=5))
    chunks, results, place = [], [], 0
    for index, length in enumerate(lengths):
        trims = sorted(draw(st.lists(st.integers(0, length), min_size=4, max_size=4)))
        start, end = (
            draw(st.sampled_from([0, trims[0]])),
            draw(st.sampled_from([length, trims[3]])),
        )
        skip = [tuple((place + at) / SAMPLE_RATE for at in trims[1:3])]
        skips = tuple(skip if start < trims[1] < trims[2] < end and draw(st.booleans()) else [])
        core = (place / SAMPLE_RATE, (place + length) / SAMPLE_RATE)
        audio = ((place + start) / SAMPLE_RATE, (place + end) / SAMPLE_RATE)
        chunk = Chunk(index, *audio, *core, skips=skips, has_speech=draw(st.booleans()))
        chunks.append(chunk)
        place += length
        if chunk.has_speech:
            results.append(heard(index, *draw(engine_segments(index, chunk.heard_seconds))))
    return chunks, results


@st.composite
def engine_segments(draw, index, seconds):
    """Segments as the parser leaves them: times in order, on milliseconds, clamped to the clip."""
    times = st.floats(0, seconds) | st.sampled_from([0.0, seconds])
    count = draw(st.integers(0, 6))
    edges = sorted(draw(st.lists(times, min_size=2 * count, max_size=2 * count)))
    words = [
        (f"{index}-{number}", round(start, 3), round(end, 3))
        for number, (start, end) in enumerate(zip(edges[::2], edges[1::2], strict=True))
    ]
    split = draw(st.integers(0, count))
    return [segment(*part) for part in (words[:split], words[split:]) if part]


@given(cut_in_pauses())
def test_no_word_is_lost_where_chunks_do_not_overlap(recording):
    chunks, results = recording
    transcript = merge(chunks, results)
    assert_sound(transcript)
    spoken = [word.word for result in results for part in result.segments for word in part.words]
    assert texts_of(transcript) == spoken


@given(cut_in_pauses())
def test_no_word_moves_into_a_silence_that_nobody_heard(recording):
    chunks, results = recording
    for word in words_of(merge(chunks, results)):
        chunk = chunks[int(word.word.split("-")[0])]
        middle = (word.start + word.end) / 2
        assert any(start - 0.002 <= middle <= end + 0.002 for start, end in chunk.pieces)


@st.composite
def cut_in_speech(draw):
    """One recording's words, and what each side of its forced cuts hears of them."""
    lengths = draw(st.lists(st.integers(5 * SAMPLE_RATE, 28 * SAMPLE_RATE), min_size=2, max_size=4))
    cores = list(itertools.pairwise(itertools.accumulate(lengths, initial=0)))
    duration = cores[-1][1] / SAMPLE_RATE
    chunks = []
    for index, (left, right) in enumerate(cores):
        left, right = left / SAMPLE_RATE, right / SAMPLE_RATE
        audio = (max(0.0, left - OVERLAP), min(duration, right + OVERLAP))
        chunks.append(Chunk(index, *audio, left, right))
    pace = draw(st.floats(0.1, 0.6))
    starts = [draw(st.floats(0, 0.1)) + number * pace for number in range(int(duration / pace) - 1)]
    words = [(f"w{number}", start, start + pace * 0.9) for number, start in enumerate(starts)]
    cuts = [chunk.core_end for chunk in chunks[:-1]]
    # Chunks round a word's time differently: on the cut itself, either may have it.
    clear = [w for w in words if all(abs((w[1] + w[2]) / 2 - cut) > 0.002 for cut in cuts)]
    return chunks, clear


@given(cut_in_speech())
def test_a_word_heard_by_both_sides_of_a_cut_is_kept_once(recording):
    chunks, words = recording
    results = []
    for chunk in chunks:
        own = [
            (text, max(0.0, start - chunk.start), min(end, chunk.end) - chunk.start)
            for text, start, end in words
            if start < chunk.end and end > chunk.start
        ]
        results.append(heard(chunk.index, segment(*own)))
    transcript = merge(chunks, results)
    assert_sound(transcript)
    assert texts_of(transcript) == [text for text, _, _ in words]
    assert sum(len(result.segments[0].words) for result in results) > len(words)


ONE = Chunk(0, 0, 10, 0, 10)
THREE = [ONE, Chunk(1, 10, 20, 10, 20), Chunk(2, 20, 30, 20, 30)]
SILENT = replace(THREE[1], has_speech=False)


def test_times_count_from_the_start_of_the_recording():
    chunks = [THREE[0], replace(THREE[1], start=12.5)]
    transcript = merge(chunks, [heard(0), heard(1, segment(("hello", 1, 1.5)))])
    assert words_of(transcript) == [Word("hello", 13.5, 14.0, 0.9)]


@pytest.mark.parametrize("text", ["今日は良い天気です。", "今日は -良い天気です。"])
def test_words_without_spaces_between_them_stay_so(text):
    words = tuple(Word(part, at, at + 1, 0.9) for at, part in enumerate([text[:2], text[2:]]))
    spoken = Segment(0, 2, text, words, 0.9)
    assert merge([ONE], [heard(0, spoken)]).text == text


def test_words_after_a_skipped_silence_are_put_back_behind_it():
    chunk = Chunk(0, 0, 100, 0, 100, skips=((5.0, 80.0),))
    transcript = merge([chunk], [heard(0, segment(("before", 4, 5), ("after", 6, 7)))])
    assert [(word.start, word.end) for word in words_of(transcript)] == [(4, 5), (81, 82)]


def test_a_silent_recording_has_an_empty_transcript():
    transcript = merge([replace(ONE, has_speech=False)], [])
    assert (transcript.segments, transcript.text, transcript.word_count) == ((), "", 0)
    assert transcript.duration == 10


@pytest.mark.parametrize(
    "chunks",
    [THREE[1:], THREE[:2], [THREE[0], THREE[2]], THREE[::-1], [*THREE, THREE[2]], [ONE, ONE]],
    ids=["first missing", "last missing", "middle missing", "reversed", "doubled", "same"],
)
def test_chunks_that_do_not_make_a_recording_are_refused(chunks):
    with pytest.raises(IncompleteResults):
        merge(chunks, [heard(chunk.index) for chunk in chunks], 30)


def test_chunks_with_a_gap_between_them_are_refused():
    with pytest.raises(IncompleteResults):
        merge([ONE, replace(THREE[1], core_start=10.5)], [heard(0), heard(1)])


@pytest.mark.parametrize(
    "indexes", [[0, 1], [1, 2], [0, 2], [], [0, 1, 1, 2], [0, 2, 1], [0, 1, 2, 3]], ids=str
)
def test_results_that_do_not_fit_the_chunks_are_refused(indexes):
    with pytest.raises(IncompleteResults):
        merge(THREE, [heard(index) for index in indexes])


def test_a_result_for_a_silent_chunk_is_refused():
    with pytest.raises(IncompleteResults):
        merge([THREE[0], SILENT, THREE[2]], [heard(0), heard(1), heard(2)])


@pytest.mark.parametrize(
    ("part", "suspect"),
    [
        (sentence("Please open the agenda and check the schedule."), False),
        (sentence("Yes."), False),
        (sentence("No, no, no."), False),
        (sentence("I know. " * 3), False),
        (sentence("Thank you for watching. " * 12), True),
        (sentence("ha " * 60), True),
        (sentence("The budget is fine.", confidence=0.3), True),
        (sentence("The budget is fine.", confidence=0.45), False),
        (sentence("one two three four five six seven eight nine ten", seconds=0.5), True),
        (sentence("one two three four five six seven eight nine ten", seconds=2), False),
        (sentence("Good morning", seconds=0), False),
    ],
    ids=lambda value: value.text[:24] if isinstance(value, Segment) else "",
)
def test_what_looks_invented_is_marked(part, suspect):
    (merged,) = merge([Chunk(0, 0, 60, 0, 60)], [heard(0, part)]).segments
    assert merged.suspect is suspect


def test_the_language_is_that_of_most_of_the_audio():
    chunks = [THREE[0], THREE[1], Chunk(2, 20, 45, 20, 45)]
    languages = ["en", "en", "de"]
    results = [heard(index, language=code) for index, code in enumerate(languages)]
    assert merge(chunks, results).language == "de"


def test_the_confidence_is_that_of_the_audio_in_this_language():
    chunks = [Chunk(0, 0, 10, 0, 10), Chunk(1, 10, 40, 10, 40), Chunk(2, 40, 60, 40, 60)]
    sure = [("de", 0.9), ("de", 0.5), ("en", 0.1)]
    results = [
        heard(index, language=code, language_confidence=confidence)
        for index, (code, confidence) in enumerate(sure)
    ]
    assert merge(chunks, results).language_confidence == pytest.approx((9 + 15) / 40)
    told = [heard(index, language="de") for index in range(3)]
    assert merge(chunks, told).language_confidence is None


def test_coverage_is_the_share_of_speech_within_segments():
    results = [heard(0, covered_seconds=6.0, speech_seconds=8.0), heard(2, speech_seconds=4.0)]
    assert merge([THREE[0], SILENT, THREE[2]], results).coverage == 0.5
