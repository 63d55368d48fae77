"""Transcripts in other formats, read back by other people's parsers."""

import csv
import io
import itertools
import json

import pysubs2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.rendered import LONG, one_line, read_srt, read_vtt, segment, squeezed
from worker.formats import FORMATS, make_cues

AWKWARD = [
    "Tom & Jerry <b>laughed</b> at 3 > 2",
    "an arrow --> here",
    "--> first",
    "1",
    "00:00:01,000 --> 00:00:02,000",
    "WEBVTT",
    "NOTE this is no comment",
    "line one\nline two\r\nline three",
    "one\n\n2\n00:00:05,000 --> 00:00:06,000\nforged",
    'she said "no',
    "tab\tand trailing space ",
    "🎉 großer Erfolg 👩‍👩‍👧",
    "今日は良い天気です。",
    "{\\an8}top &amp; &lt;i&gt;",
]


def without_words(text, start=0.0, end=None):
    return {"start": start, "end": start + 2 if end is None else end, "text": text}


def render(name, *segments):
    return FORMATS[name].render({"segments": list(segments)})


READERS = {"srt": read_srt, "vtt": read_vtt}
subtitles = pytest.mark.parametrize("name", READERS)


@subtitles
@pytest.mark.parametrize("text", AWKWARD)
@pytest.mark.parametrize("make", [segment, without_words])
def test_awkward_text_survives(name, make, text):
    cues = READERS[name](render(name, make("before"), make(text, 3.0), make("after", 6.0)))
    assert [squeezed(cue) for *_, cue in cues] == ["before", squeezed(text), "after"]


@pytest.mark.parametrize("text", AWKWARD)
def test_vtt_holds_no_markup_of_the_speaker(text):
    body = render("vtt", segment(text)).split("\n", 3)[3]
    assert not {"<", ">"} & set(body)


def test_pysubs2_reads_srt():
    rendered = render("srt", segment("Good morning."), segment("Hello again.", 4000.5, 1.25))
    events = pysubs2.SSAFile.from_string(rendered).events
    assert [(event.start, event.end, event.plaintext) for event in events] == [
        (0, 2000, "Good morning."),
        (4_000_500, 4_001_750, "Hello again."),
    ]


@pytest.mark.parametrize(
    ("seconds", "clock"),
    [(0, "00:00:00"), (59.9996, "00:01:00"), (3599, "00:59:59"), (45_296.5, "12:34:56")],
)
def test_clocks(seconds, clock):
    segments = [without_words("late", seconds, seconds + 1)]
    assert render("srt", *segments).split("\n")[1].startswith(f"{clock},")
    assert render("vtt", *segments).split("\n")[2].startswith(f"{clock}.")


@subtitles
def test_cues_of_more_than_an_hour_in(name):
    ((start, end, _),) = READERS[name](render(name, without_words("late", 45_296.789, 45_298.001)))
    assert (start, end) == (45_296.789, 45_298.001)


@pytest.mark.parametrize(
    ("text", "seconds", "separator"),
    [(LONG, 40.0, " "), (LONG, 600.0, " "), ("今日は良い天気です。" * 30, 60.0, "")],
    ids=["quick", "slow", "without spaces"],
)
def test_long_segments_become_readable_cues(text, seconds, separator):
    cues = make_cues([segment(text, 5.0, seconds, separator)])
    assert len(cues) > 2
    for cue in cues:
        assert len(cue.text) <= 84
        assert cue.end - cue.start <= 7.0
        lines = cue.text.split("\n")
        assert len(lines) <= 2
        assert not separator or max(map(len, lines)) <= 42 + len("word149")
    assert squeezed("".join(cue.text for cue in cues)) == squeezed(text)
    assert all(left.end <= right.start for left, right in itertools.pairwise(cues))
    assert (cues[0].start, cues[-1].end) == (5.0, pytest.approx(5.0 + seconds))


def test_short_cues_stay_on_one_line():
    (cue,) = make_cues([segment("The new database is very quick.")])
    assert cue.text == "The new database is very quick."


@pytest.mark.parametrize("text", ["今日は良い", "今日は -良い"])
def test_cues_put_no_spaces_where_the_text_has_none(text):
    (cue,) = make_cues([segment(text, separator="")])
    assert cue.text == text


@subtitles
@pytest.mark.parametrize("make", [segment, without_words])
def test_a_segment_that_lasts_no_time_is_still_shown(name, make):
    silent = make("ping") | {"start": 3.0, "end": 3.0}
    for word in silent.get("words", []):
        word.update(start=3.0, end=3.0)
    ((start, end, text),) = READERS[name](render(name, silent))
    assert (start, text) == (3.0, "ping")
    assert 0 < end - start < 0.1


@pytest.mark.parametrize(("name", "text"), [("srt", ""), ("vtt", "WEBVTT\n"), ("txt", "")])
def test_an_empty_transcript(name, text):
    assert render(name) == text


@subtitles
def test_an_empty_transcript_can_be_read_back(name):
    assert READERS[name](render(name)) == []


@subtitles
def test_segments_without_text_make_no_cue(name):
    assert READERS[name](render(name, without_words(" \n "))) == []


@pytest.mark.parametrize("text", AWKWARD)
def test_tsv_keeps_one_row_a_segment(text):
    rendered = render("tsv", without_words(text, 1.2345, 2.0), without_words("after", 3600, 3601))
    rows = list(csv.reader(io.StringIO(rendered), delimiter="\t", quoting=csv.QUOTE_NONE))
    assert rows == [
        ["start", "end", "text"],
        ["1234", "2000", one_line(text)],
        ["3600000", "3601000", "after"],
    ]


def test_txt_has_one_line_a_segment():
    rendered = render("txt", *(without_words(text) for text in AWKWARD))
    assert rendered.splitlines() == [one_line(text) for text in AWKWARD]


def test_json_is_the_transcript_itself():
    transcript = {"language": "de", "segments": [segment(text) for text in AWKWARD]}
    rendered = FORMATS["json"].render(transcript)
    assert json.loads(rendered) == transcript
    assert "großer" in rendered


@pytest.mark.parametrize("name", sorted(FORMATS.keys() - {"json", "rttm"}))
@pytest.mark.parametrize("speaker", [None, "SPEAKER_00"])
def test_without_speakers_nothing_is_said_of_them(name, speaker):
    """Neither in transcripts of older versions nor where nobody was told apart."""
    parts = [segment(text, 3.0 * number) for number, text in enumerate(AWKWARD)]
    nobody = [part | {"speaker": speaker, "overlap": False} for part in parts]
    unknown = {"segments": nobody, "speakers": [], "turns": []}
    assert FORMATS[name].render(unknown) == render(name, *parts)


word_text = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Cn", "Co"]), min_size=1, max_size=30
).filter(lambda text: text.strip("\ufeff \u200b") and text.split())


@st.composite
def transcripts(draw):
    """Segments in order, spaced or not, with and without words, with zero-length words."""
    at, segments = draw(st.integers(0, 10_000_000)), []
    for _ in range(draw(st.integers(0, 5))):
        words = []
        for text in draw(st.lists(word_text, min_size=1, max_size=25)):
            start = at + draw(st.integers(0, 2000))
            at = start + draw(st.integers(0, 1500))
            words.append({"word": text.strip(), "start": start / 1000, "end": at / 1000})
        separator = draw(st.sampled_from([" ", ""]))
        text = separator.join(word["word"] for word in words)
        made = {"start": words[0]["start"], "end": at / 1000, "text": text, "words": words}
        if draw(st.booleans()):
            del made["words"]
        segments.append(made)
    return segments


@subtitles
@given(segments=transcripts())
def test_any_transcript_can_be_read_back(name, segments):
    cues = READERS[name](render(name, *segments))
    spoken = "".join(segment["text"] for segment in segments)
    assert squeezed("".join(text for *_, text in cues)) == squeezed(spoken)
    starts = [start for start, *_ in cues]
    assert starts == sorted(starts)
    assert all(start < end for start, end, _ in cues)
    if segments:
        assert starts[0] == pytest.approx(segments[0]["start"], abs=0.0005)


@subtitles
@given(segments=transcripts(), label=st.text(), data=st.data())
def test_any_transcript_with_speakers_can_be_read_back(name, segments, label, data):
    speaker = st.sampled_from(["A", "B", None])
    told = [part | {"speaker": data.draw(speaker)} for part in segments]
    transcript = {"segments": told, "speakers": [{"id": "A", "label": label}]}
    cues = READERS[name](FORMATS[name].render(transcript))
    named = {"A": f"{one_line(label) or 'A'}: "} if name == "srt" else {}
    expected = make_cues(told, named)
    assert [squeezed(text) for *_, text in cues] == [squeezed(cue.text) for cue in expected]
    assert [end for _, end, _ in cues] == [pytest.approx(cue.end, abs=0.001) for cue in expected]
