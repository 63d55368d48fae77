"""Speakers on words: whose turn it is, put right within sentences."""

from dataclasses import replace

import pytest

from tests.unit.speaker_values import A, B, C, assign, segment, speakers_of, spoken, turns
from worker.speakers import assign_speakers
from worker.transcript import Diarization, Transcript

# --- Each word


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        pytest.param(1.0, 1.5, A, id="inside"),
        pytest.param(4.7, 5.2, A, id="mostly the first's"),
        pytest.param(4.9, 5.2, B, id="mostly the second's"),
        pytest.param(4.8, 5.2, A, id="tie: the earlier"),
        pytest.param(0.0, 12.0, A, id="long: not the one at its middle"),
        pytest.param(2.0, 30.0, B, id="over five turns"),
        pytest.param(8.4, 8.8, B, id="just after"),
        pytest.param(8.5, 8.8, None, id="too long after"),
        pytest.param(9.2, 9.51, C, id="just before"),
        pytest.param(9.2, 9.5, None, id="too long before"),
        pytest.param(8.0, 8.0, B, id="no time at all, at an end"),
        pytest.param(3.0, 3.0, A, id="no time at all, inside"),
    ],
)
def test_a_word_is_theirs_whose_turn_it_overlaps_most(start, end, expected):
    spans = [(0, 5, A), (5, 8, B), (10, 14, C), (14.0, 25.0, B), (28, 30, C)]
    assert speakers_of(assign([segment(("word", start, end))], spans)) == [expected]


@pytest.mark.parametrize(
    ("start", "end", "expected"), [(1.2, 1.5, A), (1.4, 1.6, B), (1.3, 1.5, A), (1.7, 1.7, B)]
)
def test_a_word_between_two_turns_goes_to_the_nearer(start, end, expected):
    spans = [(0, 1, A), (1.8, 3, B)]
    assert speakers_of(assign([segment(("word", start, end))], spans)) == [expected]


def test_only_exclusive_turns_decide_about_words():
    both = [(0.0, 10.0, A), (4.0, 5.0, B)]
    transcript = assign([spoken("one two three")], [(0, 4, A), (4, 5, B), (5, 10, A)], both)
    assert speakers_of(transcript) == [A] * 3
    assert transcript.turns == turns(*both)


def test_nobody_is_told_apart_without_turns():
    segments = (spoken("Good morning. Hello", 0), replace(spoken("again", 5), suspect=True))
    transcript = Transcript("en", 60.0, segments, 0.8, ("a warning",))
    assert assign_speakers(transcript, Diarization((), ())) == transcript


def test_a_silent_recording_has_speakers_all_the_same():
    transcript = assign([], [(0, 2.5, "x")])
    assert transcript.segments == ()
    assert [speaker.id for speaker in transcript.speakers] == [A]


# --- Lone flips


def flip(middle=(0.8, 1.2), after=(1.2, 1.6), text="one two three four five six."):
    """Speakers of six words of A's, in the middle of which B has the third."""
    times = [(0.0, 0.4), (0.4, 0.8), middle, after]
    times += [(after[1] + at, after[1] + at + 0.4) for at in (0.0, 0.4)]
    words = [(word, *at) for word, at in zip(text.split(), times, strict=True)]
    return speakers_of(assign([segment(*words)], [(0, 0.8, A), (*middle, B), (after[0], 9, A)]))


def test_a_lone_flip_is_smoothed():
    assert flip() == [A] * 6
    assert flip((1.29, 1.31), (1.8, 2.2)) == [A] * 6


def test_a_lone_word_of_nobody_is_smoothed():
    words = [("a", 0, 0.4), ("b", 0.4, 0.85), ("c", 1.29, 1.31), ("d", 1.75, 2.2), ("e.", 2.2, 3)]
    spans = [(0, 0.75, A), (1.85, 9, A)]
    assert speakers_of(assign([segment(words[2])], spans)) == [None]
    assert speakers_of(assign([segment(*words)], spans)) == [A] * 5


def test_a_word_amid_words_of_nobody_stays():
    words = [("a", 0, 0.1), ("b", 0.55, 0.65), ("c.", 1.11, 1.2)]
    assert speakers_of(assign([segment(*words)], [(0.6, 0.61, A)])) == [None, A, None]


@pytest.mark.parametrize(
    ("middle", "after"),
    [((1.3, 1.5), (1.6, 2.0)), ((0.9, 1.1), (1.6, 2.0))],
    ids=["a pause before", "a pause after"],
)
def test_a_word_with_a_pause_beside_it_is_no_flip(middle, after):
    assert flip(middle, after) == [A, A, B, A, A, A]


@pytest.mark.parametrize(
    "text",
    [
        "one two. Yes. Four five six.",
        "one two? Yes, four. Five six.",
        "one two yes. four five six.",
    ],
    ids=["a sentence", "a sentence's first", "a sentence's last"],
)
def test_a_word_that_begins_or_ends_a_sentence_is_no_flip(text):
    assert flip(text=text) == [A, A, B, A, A, A]


def test_words_of_two_different_neighbours_are_no_flip():
    spans = [(0, 0.8, A), (0.8, 1.2, B), (1.2, 2.4, C)]
    assert speakers_of(assign([spoken("a b c d e f.")], spans)) == [A, A, B, C, C, C]


def test_two_words_are_no_flip():
    spans = [(0, 0.8, A), (0.8, 1.6, B), (1.6, 9, A)]
    assert speakers_of(assign([spoken("a b c d e f.")], spans)) == [A, A, B, B, A, A]


# --- Realigning at punctuation

ENDS = """. ? ! … ... 。 ． ｡ ？ ！ ؟ ۔ । ॥ ." .” .’ .“ !» ?) .] 。」 。）""".split()  # noqa: RUF001


@pytest.mark.parametrize("end", ENDS)
def test_a_turn_that_ends_a_word_early_is_realigned(end):
    """The last word of the first sentence lies in the second speaker's turn."""
    text = f"this is what I think{end} and what about you then?"
    spans = [(0, 1.6, A), (1.6, 9, B)]
    assert speakers_of(assign([spoken(text)], spans)) == [A] * 5 + [B] * 5


@pytest.mark.parametrize("end", ["", ",", ":", "-", ".x", "”", "4.5"])
def test_within_a_sentence_nothing_is_realigned(end):
    text = f"this is what I think{end} and what about you then?"
    spans = [(0, 1.6, A), (1.6, 9, B)]
    assert speakers_of(assign([spoken(text)], spans)) == [A] * 4 + [B] * 6


def test_a_turn_that_ends_a_word_late_is_realigned():
    text = "this is what I think. and what about you then?"
    assert speakers_of(assign([spoken(text)], [(0, 2.4, A), (2.4, 9, B)])) == [A] * 5 + [B] * 5


def test_both_edges_of_a_sentence_are_realigned_and_nobody_counts_as_another():
    spans = [(0.95, 3.6, A), (3.6, 9, B)]
    text = "well I see what you mean by all that now. next one please then."
    assert speakers_of(assign([spoken("well")], spans)) == [None]
    assert speakers_of(assign([spoken(text)], spans)) == [A] * 10 + [B] * 4


def test_nobody_holds_no_majority():
    words = [("a", 0, 0.3), ("b", 0.9, 1.2), ("c", 1.2, 1.5), ("d.", 1.5, 1.8)]
    assert speakers_of(assign([segment(*words)], [(0, 0.3, A)])) == [A, None, None, None]


def test_a_pause_ends_a_sentence():
    left = segment(("so", 0, 0.3), ("I", 0.3, 0.6), ("think", 0.6, 0.9), ("ok", 0.9, 1.2))
    right = [("me", 2.2, 2.5), ("too", 2.5, 2.8), ("you", 2.8, 3.1), ("see", 3.1, 3.4)]
    later = [(text, start + 0.001, end + 0.001) for text, start, end in right]
    spans = [(0, 0.9, A), (0.9, 9, B)]
    assert speakers_of(assign([left, segment(*right)], spans)) == [A] * 3 + [B] * 5
    assert speakers_of(assign([left, segment(*later)], spans)) == [A] * 4 + [B] * 4


@pytest.mark.parametrize(
    ("count", "minority", "step", "realigned"),
    [
        (4, 1, 0.4, True),
        (3, 1, 0.4, False),
        (8, 2, 0.4, True),
        (7, 2, 0.4, False),
        (20, 3, 0.333, True),
        (20, 3, 0.334, False),
        (20, 1, 1.0, True),
        (20, 1, 1.001, False),
    ],
)
@pytest.mark.parametrize("at_start", [True, False])
def test_only_short_runs_against_a_clear_majority_are_realigned(
    count, minority, step, realigned, at_start
):
    """A sentence of `count` words, of which B says the first or the last `minority`."""
    cut = minority * step if at_start else (count - minority) * step
    first, second = (B, A) if at_start else (A, B)
    text = " ".join("x" * count)
    # The speakers before it are there so that A and B keep their names.
    spans = [(0, 1, A), (1, 2, B), (10, 10 + cut, first), (10 + cut, 100, second)]
    found = speakers_of(assign([spoken(f"{text}.", 10, step)], spans, duration=200))
    edge = [A if realigned else B] * minority
    rest = [A] * (count - minority)
    assert found == (edge + rest if at_start else rest + edge)


def test_a_run_inside_a_sentence_stays():
    spans = [(0, 2.4, A), (2.4, 3.2, B), (3.2, 9, A)]
    text = "a b c d e f g h i j k l."
    assert speakers_of(assign([spoken(text)], spans)) == [A] * 6 + [B] * 2 + [A] * 4


def test_sentences_go_on_across_segments():
    parts = [spoken("this is what"), spoken("I think. and what about", 1.2), spoken("you?", 3.2)]
    spans = [(0, 1.6, A), (1.6, 9, B)]
    transcript = assign(parts, spans)
    assert speakers_of(transcript) == [A] * 5 + [B] * 4
    assert [part.text for part in transcript.segments] == [
        "this is what", "I think.", "and what about", "you?",
    ]  # fmt: skip
