"""Which speakers are people whose voices were given: nobody, unless alike enough."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.speaker_values import A, B, C, spoken, turns
from worker.known_voices import KnownVoice, KnownVoices, match_voices, similarity
from worker.speakers import assign_speakers
from worker.transcript import Diarization, Speaker, Transcript, VoiceMatch


def matched(values, threshold=0.6):
    """Who the speakers are, by speaker."""
    return {match.speaker: match.name for match in match_voices(values, threshold)}


def test_whoever_is_alike_enough_has_the_name():
    assert matched({"x": {"Ann": 0.6}}) == {"x": "Ann"}
    assert matched({"x": {"Ann": 0.599}}) == {"x": None}


def test_strangers_have_no_name_however_few_people_there_are():
    strangers = {"x": {"Ann": 0.3, "Bo": 0.59}, "y": {"Ann": -0.2, "Bo": -0.9}}
    assert match_voices(strangers, 0.6) == (
        VoiceMatch("x", None, 0.59),
        VoiceMatch("y", None, -0.2),
    )


def test_each_name_goes_to_one_speaker_and_the_surest_pair_comes_first():
    values = {"x": {"Ann": 0.8, "Bo": 0.7}, "y": {"Ann": 0.9, "Bo": 0.1}}
    assert match_voices(values, 0.6) == (VoiceMatch("x", "Bo", 0.7), VoiceMatch("y", "Ann", 0.9))


def test_whose_name_is_taken_is_unknown_unless_like_somebody_else():
    values = {"x": {"Ann": 0.8, "Bo": 0.5}, "y": {"Ann": 0.9, "Bo": 0.1}}
    assert match_voices(values, 0.6) == (VoiceMatch("x", None, 0.8), VoiceMatch("y", "Ann", 0.9))


def test_who_cannot_be_compared_is_unknown():
    values = {"x": {"Ann": None, "Bo": None}, "y": {"Ann": None, "Bo": 0.7}}
    assert match_voices(values, -1) == (VoiceMatch("x", None, None), VoiceMatch("y", "Bo", 0.7))
    assert match_voices({}, 0.6) == ()


@given(
    st.dictionaries(
        st.sampled_from("xyzw"),
        st.fixed_dictionaries({name: st.none() | st.floats(-1, 1) for name in ("Ann", "Bo", "Cy")}),
    ),
    st.floats(-1, 1),
)
def test_no_name_below_the_threshold_and_none_twice(values, threshold):
    found = match_voices(values, threshold)
    assert [match.speaker for match in found] == list(values)
    names = [match.name for match in found if match.name]
    assert len(names) == len(set(names))
    for match in found:
        own = values[match.speaker]
        if match.name:
            assert match.similarity == own[match.name]
            assert match.similarity >= threshold
        else:
            free = [v for name, v in own.items() if v is not None and name not in names]
            assert all(value < threshold for value in free), "somebody alike was overlooked"


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ([1, 0], [2, 0], 1.0),
        ([1, 0], [0, 3], 0.0),
        ([1, 0], [-1, 0], -1.0),
        ([1, 1], [1, 0], 0.707),
        ([0, 0], [1, 0], None),
        ([1, 0], [float("nan"), 0], None),
    ],
)
def test_similarity_is_the_cosine(one, other, expected):
    found = similarity(np.array(one, np.float32), np.array(other, np.float32))
    assert found == expected
    assert json.loads(json.dumps(found)) == expected


def test_voices_go_through_json():
    voices = KnownVoices((KnownVoice("Ann", Path("/a b/ann.wav")),), 0.5)
    assert KnownVoices.from_dict(json.loads(json.dumps(asdict(voices), default=str))) == voices
    found = Diarization((), (), (VoiceMatch("x", None, None), VoiceMatch("y", "Ann", 0.7)))
    assert Diarization.from_dict(json.loads(json.dumps(asdict(found)))) == found


def test_what_was_stored_before_voices_were_looked_for_can_be_read():
    assert Diarization.from_dict({"turns": [], "exclusive": []}) == Diarization((), ())


def speakers(voices, spans=((0, 2, "z"), (2, 3, "x"), (3, 4.5, "y"))):
    found = Diarization(turns(*spans), turns(*spans), tuple(voices))
    transcript = assign_speakers(Transcript("en", 60.0, (spoken("one two three"),)), found)
    return list(transcript.speakers)


def test_labels_are_names_or_say_that_it_is_nobody_known():
    voices = [VoiceMatch("x", "Ann", 0.9), VoiceMatch("y", None, 0.4), VoiceMatch("z", None, None)]
    assert speakers(voices) == [
        Speaker(A, "Unknown 1", 2.0, known=False, similarity=None),
        Speaker(B, "Ann", 1.0, known=True, similarity=0.9),
        Speaker(C, "Unknown 2", 1.5, known=False, similarity=0.4),
    ]


def test_where_nobody_is_known_speakers_are_numbered():
    assert [s.label for s in speakers([])] == ["Speaker 1", "Speaker 2", "Speaker 3"]
    assert {(s.known, s.similarity) for s in speakers([])} == {(None, None)}


def test_of_whom_nothing_is_said_is_unknown():
    """More speakers may be in the turns than the pipeline has embeddings of."""
    assert [s.label for s in speakers([VoiceMatch("x", "Ann", 0.9)])] == [
        "Unknown 1",
        "Ann",
        "Unknown 2",
    ]
