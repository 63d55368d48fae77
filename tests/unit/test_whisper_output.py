"""What whisper-cli writes, and the words that it becomes."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from worker.chunking import FRAME_SECONDS
from worker.transcriber import Clip, parse_output

GOLDEN = json.loads(Path(__file__).parents[1].joinpath("golden/whisper_full.json").read_text())


def speech(seconds, flag=True):
    return np.full(round(seconds / FRAME_SECONDS), flag)


def output(*segments, language="en"):
    """whisper-cli's JSON for segments of (start_ms, end_ms, tokens as bytes or text)."""
    transcription = []
    for start, end, tokens in segments:
        texts = [
            t.decode("utf-8", "surrogateescape") if isinstance(t, bytes) else t for t in tokens
        ]
        made = [{"text": text, "id": 1, "p": 0.5} for text in texts]
        offsets = {"from": start, "to": end}
        transcription.append({"offsets": offsets, "text": "".join(texts), "tokens": made})
    return {"result": {"language": language}, "transcription": transcription}


def parse(*tokens, language="en", seconds=10.0):
    """Return the words and the text of one segment of these tokens."""
    spoken = output((0, round(seconds * 1000), tokens), language=language)
    clip = Clip(0, Path("a.wav"), seconds)
    segments = parse_output(spoken, clip, speech(seconds)).segments
    words = [word.word for segment in segments for word in segment.words]
    return words, "".join(segment.text for segment in segments)


def test_real_output():
    transcript = parse_output(GOLDEN, Clip(4, Path("a.wav"), 10.6), speech(10.6))
    assert (transcript.index, transcript.language) == (4, "en")
    assert [segment.text for segment in transcript.segments] == [
        "Good morning everyone.",
        "Thanks for joining.",
    ]
    assert [(segment.start, segment.end) for segment in transcript.segments] == [
        (0.5, 1.68),
        (2.06, 3.36),
    ]
    first = transcript.segments[0]
    assert [word.word for word in first.words] == ["Good", "morning", "everyone."]
    tokens = [token["p"] for token in GOLDEN["transcription"][0]["tokens"]][:4]
    assert first.words[0].confidence == pytest.approx(tokens[0], abs=1e-4)
    assert first.words[2].confidence == pytest.approx(sum(tokens[2:]) / 2, abs=1e-4)
    assert first.confidence == pytest.approx(sum(tokens) / 4, abs=1e-4)
    assert transcript.speech_seconds == pytest.approx(10.6)
    assert transcript.covered_seconds == pytest.approx(1.18 + 1.3, abs=0.05)


@pytest.mark.parametrize(
    ("tokens", "words"),
    [
        ([" Hel", "lo", ",", " world", "!"], ["Hello,", "world!"]),
        ([" don", "'t", " stop", "..."], ["don't", "stop..."]),
        (["[_BEG_]", " One", "[_TT_50]", " two", "<|endoftext|>"], ["One", "two"]),
        (["[_SOT_]", "<|en|>", "[_EOT_]"], []),
        ([" ", " a"], ["a"]),
        ([" [", "laughs", "]", " ha"], ["[laughs]", "ha"]),
        ([" twenty", "-", "five", " %"], ["twenty-five %"]),
        ([" caf", b"\xc3", b"\xa9", " noir"], ["café", "noir"]),
        ([" party", b" \xf0\x9f", b"\x8e", b"\x89", " now"], ["party", "🎉", "now"]),
        ([" cut", b" o\xc3"], ["cut", "o\ufffd"]),
    ],
    ids=str,
)
def test_tokens_become_words(tokens, words):
    assert parse(*tokens) == (words, " ".join(words))


@pytest.mark.parametrize(
    ("language", "tokens", "words"),
    [
        ("ja", ["今日", "は", "良い", "。"], ["今日", "は", "良い。"]),
        ("zh", [b"\xe4\xbb", b"\x8a", "天", "、", "好"], ["今", "天、", "好"]),
        ("zh", [b"\xe4\xbb", b"\x8a\xe5\xa4", b"\xa9", "好"], ["今天", "好"]),
        ("th", ["สวัส", "ดี"], ["สวัส", "ดี"]),
    ],
)
def test_languages_without_spaces(language, tokens, words):
    assert parse(*tokens, language=language) == (words, "".join(words))


def test_a_translation_is_written_with_spaces():
    spoken = output((0, 900, [" Good", " day"]), language="zh")
    clip = Clip(0, Path("a.wav"), 1.0)
    heard = parse_output(spoken, clip, speech(1.0), task="translate")
    assert (heard.language, heard.segments[0].text) == ("zh", "Good day")


@pytest.mark.parametrize("quoted", [[' "', "Yes", '"'], [" (", "Yes", ")"], [" $", "5"]], ids=str)
def test_opening_punctuation_belongs_to_the_word_after_it(quoted):
    words, _ = parse(" He", " said", *quoted)
    assert words == ["He", "said", "".join(quoted).strip()]


token_texts = st.sampled_from(
    [" a", "b", " long-winded", ".", " ", "今", "[_TT_9]", "\udce4", " É"]
)
wild_segments = st.tuples(
    st.integers(-500, 40_000), st.integers(-500, 40_000), st.lists(token_texts, max_size=8)
)


@given(
    segments=st.lists(wild_segments, max_size=6),
    seconds=st.floats(0.1, 30),
    flags=st.sampled_from([True, False]),
    language=st.sampled_from(["en", "ja"]),
)
@example([(0, 61, [" a", " long-winded"])], 1.0, True, "en")
@example([(0, 61, [" long-winded", " a"])], 1.0, True, "en")
def test_words_are_in_order_and_within_the_clip(segments, seconds, flags, language):
    spoken = output(*segments, language=language)
    parsed = parse_output(spoken, Clip(0, Path("a.wav"), seconds), speech(seconds, flags))
    edges = []
    for segment in parsed.segments:
        assert (segment.start, segment.end) == (segment.words[0].start, segment.words[-1].end)
        assert all(word.word and 0 <= word.confidence <= 1 for word in segment.words)
        edges += [edge for word in segment.words for edge in (word.start, word.end)]
    assert edges == sorted(edges)
    assert all(0 <= edge <= seconds + 0.0005 for edge in edges)
    assert 0 <= parsed.covered_seconds <= parsed.speech_seconds


@pytest.mark.parametrize("spoken", [{}, {"transcription": []}, output((0, 900, []))], ids=str)
def test_output_without_words(spoken):
    assert parse_output(spoken, Clip(0, Path("a.wav"), 1.0), speech(1)).segments == ()
