"""Speakers of a recording: their turns, segments and overlaps, and the names given to them."""

from dataclasses import asdict, replace

import pytest

from tests.unit.speaker_values import A, B, C, assign, segment, speakers_of, spoken, turns
from worker.speakers import carry_labels
from worker.transcript import Diarization, Segment, Speaker

# --- Speakers and turns


def test_speakers_are_numbered_as_they_first_talk():
    spans = [(1, 2, "zoe"), (3, 5.5, "adam"), (6, 7.25, "zoe"), (8, 9, "mia")]
    transcript = assign([spoken("hello", 3)], spans)
    assert transcript.speakers == (
        Speaker(A, "Speaker 1", 2.25),
        Speaker(B, "Speaker 2", 2.5),
        Speaker(C, "Speaker 3", 1.0),
    )
    assert [turn.speaker for turn in transcript.turns] == [A, B, A, C]
    assert speakers_of(transcript) == [B]


def test_turns_lie_inside_the_recording_on_milliseconds():
    spans = [(-1, 1.00049, A), (2, 9, B), (9.9996, 12, C), (10, 11, A), (4.0001, 4.0002, A)]
    transcript = assign([], spans, duration=10.0)
    assert transcript.turns == turns((0.0, 1.0, A), (2, 9, B))
    assert [speaker.speech_seconds for speaker in transcript.speakers] == [1.0, 7.0]


def test_a_speaker_of_exclusive_turns_alone_is_listed():
    transcript = assign([spoken("hello", 5)], [(5, 6, "y")], [(0, 1, "x")])
    assert transcript.speakers[1] == Speaker(B, "Speaker 2", 0.0)
    assert speakers_of(transcript) == [B]


def test_diarizations_are_made_of_their_values():
    diarization = Diarization(turns((0, 2, A), (1, 3, B)), turns((0, 2, A), (2, 3, B)))
    assert Diarization.from_dict(asdict(diarization)) == diarization


def test_segments_of_older_versions_have_no_speaker():
    stored = asdict(spoken("Good morning."))
    del stored["speaker"], stored["overlap"]
    for word in stored["words"]:
        del word["speaker"]
    assert Segment.from_dict(stored) == spoken("Good morning.")


def test_segments_are_made_of_their_values():
    (part,) = assign([spoken("Good morning.")], [(0, 9, A)], [(0, 9, A), (0, 9, B)]).segments
    assert (part.speaker, part.overlap) == (A, True)
    assert Segment.from_dict(asdict(part)) == part


# --- Segments


def test_segments_are_split_where_the_speaker_changes():
    part = replace(spoken("How are you? Fine. And you?"), suspect=True, confidence=0.5)
    transcript = assign([part], [(0, 1.2, A), (1.2, 1.6, B), (1.6, 9, A)])
    assert [(p.speaker, p.text, p.start, p.end) for p in transcript.segments] == [
        (A, "How are you?", 0.0, 1.2),
        (B, "Fine.", 1.2, 1.6),
        (A, "And you?", 1.6, 2.4),
    ]
    assert all(p.suspect and p.confidence == 0.9 for p in transcript.segments)


def test_a_segment_of_one_speaker_stays_as_the_engine_made_it():
    part = replace(spoken("How are you?"), confidence=0.5)
    transcript = assign([part], [(0, 9, A)])
    words = tuple(replace(word, speaker=A) for word in part.words)
    assert transcript.segments == (replace(part, words=words, speaker=A),)


@pytest.mark.parametrize(
    ("words", "separator", "at", "texts"),
    [
        (["今", "日は", "いい。", "ね", "え。"], "", 3, ["今日はいい。", "ねえ。"]),
        (["今", "日は", "いい。", "ね", "え。"], "", 1, ["今", "日はいい。ねえ。"]),
        (["今", "日は", "い -い。", "ね", "え。"], "", 3, ["今日はい -い。", "ねえ。"]),
        (["I", "am", "here.", "You", "too?"], " ", 3, ["I am here.", "You too?"]),
        (["I", "am", "here.", "You", "too?"], " ", 1, ["I", "am here. You too?"]),
    ],
)
def test_parts_are_joined_as_the_whole_was(words, separator, at, texts):
    timed = [(word, index * 0.4, (index + 1) * 0.4) for index, word in enumerate(words)]
    part = segment(*timed, separator=separator)
    transcript = assign([part], [(0, at * 0.4, A), (at * 0.4, 9, B)])
    assert [p.text for p in transcript.segments] == texts


# --- Overlap


@pytest.mark.parametrize(
    ("overlapping", "expected"),
    [
        pytest.param([(0, 10, A), (4, 4.25, B)], True, id="long enough"),
        pytest.param([(0, 10, A), (4, 4.249, B)], False, id="too short"),
        pytest.param([(0, 3, A), (3, 10, B)], False, id="one after the other"),
        pytest.param([(0, 10, A), (2, 2.9, A)], False, id="the same speaker"),
        pytest.param([(0, 10, A), (0, 2.2, B)], False, id="mostly before it"),
        pytest.param([(0, 10, A), (0, 2.25, B)], True, id="reaches into it"),
        pytest.param([(0, 10, A), (5.75, 8, B)], True, id="begins in it"),
        pytest.param([(0, 10, A), (5.76, 8, B)], False, id="mostly after it"),
        pytest.param([(0, 10, A), (3, 3.2, B), (4, 4.2, B)], False, id="several short ones"),
        pytest.param([(0, 4, A), (3.85, 4.15, B), (4, 10, A)], True, id="across a seam"),
        pytest.param([(0, 10, B), (0, 10, C)], True, id="two others"),
    ],
)
def test_overlap_is_marked_where_two_speakers_talk_at_once(overlapping, expected):
    (part,) = assign([spoken("x " * 10, start=2)], [(0, 60, A)], overlapping).segments
    assert part.overlap is expected


def test_only_the_segments_that_overlap_are_marked():
    parts = [spoken("one two three", start) for start in (0, 10, 20, 30, 40)]
    both = [(0, 50, A), (9, 10.5, B), (12, 20, B), (30.5, 31.5, B), (30.6, 31.4, C)]
    found = assign(parts, [(0, 50, A)], both).segments
    assert [part.overlap for part in found] == [False, True, False, True, False]


# --- Names that people gave


def test_names_follow_those_who_talk_at_the_same_time():
    before = turns((0, 10, A), (10, 20, B), (20, 30, A))
    after = turns((0, 9, B), (9, 21, A), (21, 30, B))
    assert carry_labels({A: "Laura", B: "Tom"}, before, after) == {B: "Laura", A: "Tom"}


def test_the_pair_with_most_shared_seconds_comes_first():
    # B shares 4 s with A's heir, but 3 s with somebody whom nobody else claims.
    before = turns((0, 10, A), (10, 17, B))
    after = turns((0, 14, C), (14, 17, A))
    assert carry_labels({A: "Laura", B: "Tom"}, before, after) == {C: "Laura", A: "Tom"}


def test_each_speaker_is_used_once():
    one, two = turns((0, 20, A)), turns((0, 11, A), (11, 20, B))
    assert carry_labels({A: "Laura"}, one, two) == {A: "Laura"}
    assert carry_labels({A: "Laura", B: "Tom"}, two, one) == {A: "Laura"}


def test_speakers_without_a_name_keep_theirs_from_others():
    before = turns((0, 10, A), (10, 12, B))
    assert carry_labels({B: "Tom"}, before, turns((0, 12, C))) == {}


def test_shared_seconds_are_summed_over_overlapping_turns():
    before = turns((0, 6, A), (0, 3, B), (5, 9, B))
    after = turns((0, 2, B), (0, 6, A), (5, 9, B))
    assert carry_labels({A: "Laura", B: "Tom"}, before, after) == {A: "Laura", B: "Tom"}


@pytest.mark.parametrize(
    ("names", "before", "after"),
    [
        ({A: "Laura"}, turns((0, 5, A)), turns((5, 9, A))),
        ({A: "Laura"}, turns((0, 5, A)), ()),
        ({A: "Laura"}, (), turns((0, 5, A))),
        ({}, turns((0, 5, A)), turns((0, 5, A))),
        ({C: "Mia"}, turns((0, 5, A)), turns((0, 5, A))),
    ],
    ids=["no shared time", "nobody now", "nobody before", "no names", "a name of nobody"],
)
def test_names_without_an_heir_are_dropped(names, before, after):
    assert carry_labels(names, before, after) == {}
