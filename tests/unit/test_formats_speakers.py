"""Who speaks, in each format, whatever people call them; read back by other people's parsers."""

import csv
import html
import io
import re
from dataclasses import replace

import pysubs2
import pytest
import webvtt
from pyannote.database.util import load_rttm

from tests.unit.rendered import LONG, one_line, read_srt, segment, squeezed
from worker.formats import FORMATS
from worker.processor import transcript_to_dict
from worker.speakers import assign_speakers
from worker.transcript import Diarization, Segment, SpeakerTurn, Transcript, Word

LABELS = [
    "Laura",
    "Dr. Anna Maria Müller-Lüdenscheidt",
    "<Laura>",
    "</v>",
    "A & B > C",
    "a --> b",
    "00:00:01.000 --> 00:00:02.000",
    "two\nlines\r\n\n3",
    "tab\tin it",
    '"quoted',
    "{\\an8}",
    "Laura:",
    "1",
    "ラウラ",
    "🎉 x",
    "\u2028 \x85 \x1c",
    "x" * 100,
    " ".join("many words of a name" * 6),
]
labels = pytest.mark.parametrize("label", LABELS)
# pysubs2 takes any line with two times in it for the start of a cue.
timeless_labels = pytest.mark.parametrize("label", [x for x in LABELS if "00:" not in x])


def conversation(*speakers, label="Laura", job_id="7"):
    """A transcript of a segment of each of these speakers: A is called `label`, B is Tom."""
    segments = [
        segment(f"words {number} of it", 3.0 * number) | {"speaker": speaker}
        for number, speaker in enumerate(speakers)
    ]
    turns = [
        {"start": part["start"], "end": part["end"] + 0.25, "speaker": part["speaker"]}
        for part in segments
        if part["speaker"]
    ]
    known = [{"id": "A", "label": label}, {"id": "B", "label": "Tom"}]
    return {"job_id": job_id, "segments": segments, "speakers": known, "turns": turns}


def test_txt_has_one_line_for_what_a_speaker_says_in_one_go():
    rendered = FORMATS["txt"].render(conversation("A", "A", "B", None, None, "A"))
    assert rendered.splitlines() == [
        "Laura: words 0 of it words 1 of it",
        "Tom: words 2 of it",
        "words 3 of it",
        "words 4 of it",
        "Laura: words 5 of it",
    ]


@labels
def test_txt_keeps_a_speaker_on_one_line(label):
    rendered = FORMATS["txt"].render(conversation("A", "B", label=label))
    name = one_line(label) or "A"
    assert rendered.splitlines() == [f"{name}: words 0 of it", "Tom: words 1 of it"]


@labels
def test_tsv_has_a_column_of_speakers(label):
    rendered = FORMATS["tsv"].render(conversation("A", None, "B", label=label))
    rows = list(csv.reader(io.StringIO(rendered), delimiter="\t", quoting=csv.QUOTE_NONE))
    assert rows == [
        ["start", "end", "text", "speaker"],
        ["0", "2000", "words 0 of it", one_line(label) or "A"],
        ["3000", "5000", "words 1 of it", ""],
        ["6000", "8000", "words 2 of it", "Tom"],
    ]


@labels
def test_every_srt_cue_begins_with_its_speaker(label):
    cues = read_srt(FORMATS["srt"].render(conversation("A", "A", None, "B", label=label)))
    assert [one_line(text) for *_, text in cues] == [
        f"{one_line(label) or 'A'}: words 0 of it",
        f"{one_line(label) or 'A'}: words 1 of it",
        "words 2 of it",
        "Tom: words 3 of it",
    ]


@labels
def test_every_vtt_cue_is_a_voice_span_of_its_speaker(label):
    rendered = FORMATS["vtt"].render(conversation("A", None, "B", label=label))
    cues = webvtt.from_string(rendered).captions
    voices = [cue.voice and html.unescape(cue.voice) for cue in cues]
    assert voices == [one_line(label) or "A", None, "Tom"]
    texts = ["words 0 of it", "words 1 of it", "words 2 of it"]
    assert [cue.text for cue in cues] == texts


@timeless_labels
def test_pysubs2_reads_vtt_with_speakers(label):
    rendered = FORMATS["vtt"].render(conversation("A", None, "B", label=label))
    events = pysubs2.SSAFile.from_string(rendered, format_="vtt").events
    texts = ["words 0 of it", "words 1 of it", "words 2 of it"]
    assert [event.plaintext for event in events] == texts


@timeless_labels
def test_pysubs2_reads_srt_with_speakers(label):
    rendered = FORMATS["srt"].render(conversation("A", "B", label=label))
    events = pysubs2.SSAFile.from_string(rendered, format_="srt", keep_html_tags=True).events
    name = one_line(label) or "A"
    assert [one_line(event.text.replace("\\N", " ")) for event in events] == [
        f"{name}: words 0 of it",
        "Tom: words 1 of it",
    ]


def test_speakers_of_segments_that_list_no_words():
    transcript = conversation("A")
    del transcript["segments"][0]["words"]
    assert FORMATS["srt"].render(transcript).endswith("\nLaura: words 0 of it\n")
    assert FORMATS["vtt"].render(transcript).endswith("\n<v Laura>words 0 of it</v>\n")


def test_a_voice_span_holds_all_lines_of_a_cue():
    spoken = segment("one two three four five six seven eight nine ten", 0, 5) | {"speaker": "A"}
    rendered = FORMATS["vtt"].render(conversation(label="T&T") | {"segments": [spoken]})
    (cue,) = webvtt.from_string(rendered).captions
    assert cue.raw_text == "<v T&amp;T>one two three four five\nsix seven eight nine ten</v>"


@pytest.mark.parametrize("label", [label for label in LABELS if len(label) <= 42])
@pytest.mark.parametrize("separator", [" ", ""])
def test_the_speaker_counts_among_a_cues_characters(label, separator):
    long = segment(LONG if separator else "今日は良い天気です。" * 30, 0, 60.0, separator)
    transcript = conversation(label=label) | {"segments": [long | {"speaker": "A"}]}
    cues = read_srt(FORMATS["srt"].render(transcript))
    name = one_line(label) or "A"
    for *_, text in cues:
        assert one_line(text).startswith(f"{name}: ")
        assert len(text) <= 84
        lines = text.split("\n")
        assert len(lines) <= 2
        assert not separator or max(map(len, lines)) <= 42 + max(map(len, LONG.split()))
    spoken = "".join(one_line(text).removeprefix(f"{name}: ") for *_, text in cues)
    assert squeezed(spoken) == squeezed(long["text"])


def test_beside_a_very_long_name_cues_still_hold_several_words():
    transcript = conversation(label="x" * 200)
    transcript["segments"] = [segment(LONG, 0, 40.0) | {"speaker": "A"}]
    cues = read_srt(FORMATS["srt"].render(transcript))
    assert all(len(text.removeprefix(f"{'x' * 200}:")) <= 43 for *_, text in cues)
    assert len(cues) < 40


def read_rttm(text):
    """Return the turns of each recording as (start, end, label)."""
    return {
        recording: [(turn.start, turn.end, label) for turn, _, label in found.itertracks(True)]
        for recording, found in load_rttm(io.StringIO(text)).items()
    }


@labels
def test_rttm_is_read_back(label):
    rendered = FORMATS["rttm"].render(conversation("A", None, "B", "A", label=label))
    name = re.sub(r'[\s"]+', "_", one_line(label) or "A")
    turns = [(0, 2.25, name), (6, 8.25, "Tom"), (9, 11.25, name)]
    assert read_rttm(rendered) == {"7": turns}


def test_rttm_has_ten_fields_and_three_decimals():
    transcript = conversation("B", job_id="job 7") | {"speakers": []}
    assert FORMATS["rttm"].render(transcript) == (
        "SPEAKER job_7 1 0.000 2.250 <NA> <NA> B <NA> <NA>\n"
    )


def test_rttm_of_a_recording_without_an_id():
    assert list(read_rttm(FORMATS["rttm"].render(conversation("A", job_id="")))) == ["recording"]


@pytest.mark.parametrize("transcript", [{"segments": []}, {"segments": [], "turns": []}])
def test_rttm_without_turns_is_empty(transcript):
    assert FORMATS["rttm"].render(transcript) == ""


def test_formats_read_what_is_made_of_a_transcript():
    words = [Word(text, at, at + 1.0, 0.9) for at, text in enumerate("Are you well? Yes.".split())]
    text = " ".join(word.word for word in words)
    spoken = Transcript("en", 9.0, (Segment(0, 4, text, tuple(words), 0.9),))
    turns = (SpeakerTurn(0, 3, "x"), SpeakerTurn(2.5, 4, "y"))
    told = assign_speakers(spoken, Diarization(turns, (turns[0], replace(turns[1], start=3))))
    values = transcript_to_dict(
        told, job_id="7", model="whisper", timings={}, diarization_model="pyannote"
    )
    assert values["models"] == {"transcription": "whisper", "diarization": "pyannote"}
    assert [(part["speaker"], part["overlap"]) for part in values["segments"]] == [
        ("SPEAKER_00", True),
        ("SPEAKER_01", False),
    ]
    assert values["segments"][1]["words"][0]["speaker"] == "SPEAKER_01"
    assert FORMATS["txt"].render(values) == "Speaker 1: Are you well?\nSpeaker 2: Yes.\n"
    assert read_rttm(FORMATS["rttm"].render(values)) == {
        "7": [(0, 3, "Speaker_1"), (2.5, 4, "Speaker_2")]
    }


def test_models_name_no_diarization_where_there_was_none():
    values = transcript_to_dict(Transcript("en", 9.0, ()), job_id="7", model="m", timings={})
    assert values["models"] == {"transcription": "m"}
    assert (values["speakers"], values["turns"]) == ([], [])
