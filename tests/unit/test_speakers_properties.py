"""Speakers on words, whatever the turns are: compared with slow and plain ways to find them."""

import itertools
import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.speakers import assign_speakers, carry_labels
from worker.transcript import Diarization, Segment, SpeakerTurn, Transcript, Word


def segment(*words, separator=" ", **more):
    """Return a segment of (text, start, end)."""
    made = tuple(Word(text, start, end, 0.9) for text, start, end in words)
    text = separator.join(word.word for word in made)
    return Segment(made[0].start, made[-1].end, text, made, 0.9, **more)


def words_of(transcript):
    return [word for part in transcript.segments for word in part.words]


def speakers_of(transcript):
    return [word.speaker for word in words_of(transcript)]


def squeezed(transcript):
    return "".join("".join(part.text for part in transcript.segments).split())


def distance(word, turn):
    """Seconds between them, below 0 where they overlap."""
    return round(max(word.start, turn.start) - min(word.end, turn.end), 3)


IDS = ("SPEAKER_00", "SPEAKER_01", "SPEAKER_02")
names = st.sampled_from(["x", "y", "z"])
TEXTS = ["so", "well", "Yes.", "right,", "done?", "ha!", "好", "。", "と。」"]


@st.composite
def spans_of(draw, longest_ms=40_000, *, exclusive=False):
    """Turns in order of start; some follow each other directly."""
    found, at = [], 0
    for _ in range(draw(st.integers(0, 12))):
        start = at + draw(st.sampled_from([0, 0, 100, 499, 500, 3000]))
        end = start + draw(st.integers(1, 4000))
        if end > longest_ms:
            break
        found.append(SpeakerTurn(start / 1000, end / 1000, draw(names)))
        at = end if exclusive else start + draw(st.integers(0, end - start))
    return tuple(found)


@st.composite
def transcripts(draw):
    """Segments with words on milliseconds, some of no length, with pauses of all kinds."""
    segments, at = [], 0
    for _ in range(draw(st.integers(0, 5))):
        words = []
        for text in draw(st.lists(st.sampled_from(TEXTS), min_size=1, max_size=8)):
            start = at + draw(st.sampled_from([0, 0, 0, 50, 499, 500, 1000, 1001]))
            at = start + draw(st.sampled_from([0, 100, 300, 300, 900]))
            words.append((text, start / 1000, at / 1000))
        suspect = draw(st.booleans())
        separator = draw(st.sampled_from(["", " "]))
        segments.append(segment(*words, separator=separator, suspect=suspect))
    # Turns may lie partly or wholly after the end of what is not a minute long.
    return Transcript("en", draw(st.sampled_from([60.0, max(1.0, at / 1000)])), tuple(segments))


diarizations = st.builds(Diarization, spans_of(), spans_of(exclusive=True))


@given(transcripts(), diarizations)
def test_no_word_is_lost_doubled_moved_or_retimed(transcript, diarization):
    found = assign_speakers(transcript, diarization)
    assert [replace(word, speaker=None) for word in words_of(found)] == words_of(transcript)
    assert squeezed(found) == squeezed(transcript)
    assert replace(found, segments=transcript.segments, speakers=(), turns=()) == transcript


@given(transcripts(), diarizations)
def test_segments_are_of_one_speaker_each(transcript, diarization):
    found = assign_speakers(transcript, diarization)
    origins = [part for part in transcript.segments for _ in part.words]
    for part in found.segments:
        origin, origins = origins[0], origins[len(part.words) :]
        assert {word.speaker for word in part.words} == {part.speaker}
        assert (part.start, part.end) == (part.words[0].start, part.words[-1].end)
        assert part.text in origin.text
        assert part.suspect == origin.suspect
    # And no more than needed: two neighbours of one speaker are two segments of the engine.
    assert len(found.segments) <= len(transcript.segments) + sum(
        left != right for left, right in itertools.pairwise(speakers_of(found))
    )


@given(transcripts(), diarizations)
def test_speakers_are_those_who_talk(transcript, diarization):
    found = assign_speakers(transcript, diarization)
    ids = [speaker.id for speaker in found.speakers]
    assert ids == [f"SPEAKER_{number:02}" for number in range(len(ids))]
    used = set(speakers_of(found)) | {turn.speaker for turn in found.turns}
    assert used - {None} <= set(ids)
    assert list(dict.fromkeys(turn.speaker for turn in found.turns)) == [
        speaker.id for speaker in found.speakers if speaker.speech_seconds
    ]
    for speaker in found.speakers:
        lengths = [turn.end - turn.start for turn in found.turns if turn.speaker == speaker.id]
        assert speaker.speech_seconds == pytest.approx(sum(lengths), abs=0.001)
    for turn in found.turns:
        assert 0 <= turn.start < turn.end <= transcript.duration


@given(transcripts(), diarizations)
def test_assigning_again_changes_nothing(transcript, diarization):
    transcript = replace(transcript, duration=60.0)
    once = assign_speakers(transcript, diarization)
    again = Diarization(once.turns, renamed(diarization))
    assert assign_speakers(once, again) == once


def renamed(diarization):
    """The exclusive turns with the ids that speakers get, where all turns are in the recording."""
    everyone = dict.fromkeys(t.speaker for t in (*diarization.turns, *diarization.exclusive))
    ids = dict(zip(everyone, IDS, strict=False))
    return tuple(replace(turn, speaker=ids[turn.speaker]) for turn in diarization.exclusive)


def nearest(word, exclusive):
    """Who has the turn that a word overlaps most or is near to: a look at every one."""
    turn = min(exclusive, key=lambda turn: distance(word, turn), default=None)
    return turn.speaker if turn and distance(word, turn) < 0.5 else None


@given(
    st.lists(st.tuples(st.integers(1001, 5000), st.sampled_from([0, 1, 300, 9000])), max_size=8),
    diarizations,
)
def test_words_without_neighbours_are_theirs_who_are_nearest(words, diarization):
    edges = itertools.accumulate(itertools.chain.from_iterable(words))
    times = [at / 1000 for at in edges]
    parts = [segment(("x", *span)) for span in zip(times[::2], times[1::2], strict=True)]
    found = assign_speakers(Transcript("en", 120.0, tuple(parts)), diarization)
    exclusive = renamed(diarization)
    assert speakers_of(found) == [nearest(part.words[0], exclusive) for part in parts]


@given(transcripts(), diarizations)
def test_words_change_sides_only_within_a_sentence(transcript, diarization):
    """Whoever is given a word in place of its own speaker has two others of the sentence."""
    found = words_of(assign_speakers(replace(transcript, duration=60.0), diarization))
    heard = [nearest(word, renamed(diarization)) for word in found]
    for sentence in sentences(found):
        own = [heard[at] for at in sentence]
        for at in sentence:
            now = found[at].speaker
            assert now == heard[at] or (now is not None and own.count(now) >= 2)


def sentences(words):
    """Where each sentence's words are."""
    found = [[]]
    for at, word in enumerate(words):
        found[-1].append(at)
        stops = word.word.rstrip("」").endswith((".", "?", "!", "。"))
        if stops or (at + 1 < len(words) and round(words[at + 1].start - word.end, 3) > 1.0):
            found.append([])
    return found


@given(transcripts(), diarizations)
def test_overlap_is_what_a_clock_would_find(transcript, diarization):
    """Against a look at each millisecond on its own."""
    found = assign_speakers(transcript, diarization)
    for part in found.segments:
        first, after = round(part.start * 1000), round(part.end * 1000)
        run = longest = 0
        for at in range(first, after):
            talking = {
                turn.speaker
                for turn in found.turns
                if round(turn.start * 1000) <= at < round(turn.end * 1000)
            }
            run = run + 1 if len(talking) > 1 else 0
            longest = max(longest, run)
        assert part.overlap == (longest >= 250)


def test_ten_hours_take_seconds():
    words = [("word" if at % 12 else "word.", at * 0.36, at * 0.36 + 0.3) for at in range(100_000)]
    segments = [segment(*words[at : at + 20]) for at in range(0, len(words), 20)]
    spans = [(at * 1.8, at * 1.8 + 1.8, f"x{at % 7}") for at in range(20_000)]
    both = [(start, end + 0.5, speaker) for start, end, speaker in spans]
    started = time.perf_counter()
    exclusive, all_turns = ([SpeakerTurn(*span) for span in kind] for kind in (spans, both))
    diarization = Diarization(tuple(all_turns), tuple(exclusive))
    transcript = assign_speakers(Transcript("en", 36_000.5, tuple(segments)), diarization)
    labels = {speaker.id: speaker.label for speaker in transcript.speakers}
    assert carry_labels(labels, transcript.turns, transcript.turns) == labels
    # A loop over all turns for each word would take many minutes.
    assert time.perf_counter() - started < 20
    assert len(words_of(transcript)) == 100_000


@given(spans_of(), spans_of(), st.dictionaries(names, st.text(min_size=1)))
def test_names_are_carried_as_by_comparing_all_turns(before, after, given_names):
    shared = {}
    for old, new in itertools.product(before, after):
        seconds = min(old.end, new.end) - max(old.start, new.start)
        if seconds > 0:
            pair = (old.speaker, new.speaker)
            shared.setdefault(pair, set()).update(
                range(round(max(old.start, new.start) * 1000), round(min(old.end, new.end) * 1000))
            )
    heirs = {}
    for old, new in sorted(shared, key=lambda pair: (-len(shared[pair]), pair)):
        if old not in heirs and new not in heirs.values():
            heirs[old] = new
    expected = {new: given_names[old] for old, new in heirs.items() if old in given_names}
    assert carry_labels(given_names, before, after) == expected
