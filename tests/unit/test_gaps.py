"""What could not be transcribed: a gap in the transcript, and a mark in every format."""

from __future__ import annotations

import csv
import io

import pytest

from tests.unit.rendered import read_srt, read_vtt, segment
from worker.formats import FORMATS
from worker.merger import ResultMerger
from worker.processor import transcript_to_dict
from worker.transcript import Chunk, ChunkTranscript, Gap, Segment, Word

MARK = "[not transcribed]"
REASON = "whisper-cli crashed."
WORD = Word("Hello.", 1.0, 2.0, 0.9)
CHUNKS = [Chunk(at, 10.0 * at, 10.0 * at + 10, 10.0 * at, 10.0 * at + 10) for at in range(4)]


def heard(index: int, language: str = "de") -> ChunkTranscript:
    said = Segment(WORD.start, WORD.end, WORD.word, (WORD,), 0.9)
    return ChunkTranscript(index, language, (said,), 1.0, 1.0)


def failed(index: int) -> ChunkTranscript:
    return ChunkTranscript(index, "", (), 0.0, 1.0, failure=REASON)


def merge(*results: ChunkTranscript):
    return ResultMerger().merge_chunks(CHUNKS, results, 40.0)


def test_failed_chunks_are_gaps_where_their_words_would_be():
    transcript = merge(failed(0), heard(1), heard(2), failed(3))
    assert transcript.gaps == (Gap(0.0, 10.0, REASON), Gap(30.0, 40.0, REASON))
    assert [part.start for part in transcript.segments] == [11.0, 21.0]
    assert transcript.coverage == 0.5


def test_without_failures_there_are_no_gaps():
    assert merge(*map(heard, range(4))).gaps == ()


def test_a_failed_chunk_has_no_say_in_the_language():
    assert merge(failed(0), failed(1), failed(2), heard(3)).language == "de"


def test_a_transcript_with_gaps_says_so_in_its_json():
    transcript = merge(heard(0), failed(1), heard(2), heard(3))
    values = transcript_to_dict(transcript, job_id="1", model="m", timings={}, word_timestamps=True)
    assert values["gaps"] == [{"start": 10.0, "end": 20.0, "reason": REASON}]


TRANSCRIPT = {
    "segments": [segment("Before the gap.", 0.0, 2.0), segment("After it.", 20.0, 2.0)],
    "gaps": [{"start": 10.0, "end": 20.0, "reason": REASON}],
}
AT_THE_END = TRANSCRIPT | {"gaps": [{"start": 30.0, "end": 40.0, "reason": REASON}]}


@pytest.mark.parametrize(("name", "read"), [("srt", read_srt), ("vtt", read_vtt)])
def test_subtitles_show_it_in_its_place(name, read):
    assert read(FORMATS[name].render(TRANSCRIPT)) == [
        (0.0, 2.0, "Before the gap."),
        (10.0, 20.0, MARK),
        (20.0, 22.0, "After it."),
    ]


def test_text_and_table_show_it_in_its_place():
    lines = ["Before the gap.", MARK, "After it."]
    assert FORMATS["txt"].render(TRANSCRIPT).splitlines() == lines
    table = list(csv.reader(io.StringIO(FORMATS["tsv"].render(TRANSCRIPT)), delimiter="\t"))
    assert table[2] == ["10000", "20000", MARK]
    assert [row[2] for row in table[1:]] == lines


def test_a_gap_at_the_end_comes_last():
    assert FORMATS["txt"].render(AT_THE_END).splitlines()[-1] == MARK


def test_a_gap_is_nobodys_words():
    spoken = [part | {"speaker": "SPEAKER_00"} for part in TRANSCRIPT["segments"]]
    speakers = [{"id": "SPEAKER_00", "label": "Ann"}]
    values = TRANSCRIPT | {"segments": spoken, "speakers": speakers}
    assert FORMATS["txt"].render(values).splitlines() == [
        "Ann: Before the gap.", MARK, "Ann: After it.",
    ]  # fmt: skip
    table = list(csv.reader(io.StringIO(FORMATS["tsv"].render(values)), delimiter="\t"))
    assert [row[3] for row in table[1:]] == ["Ann", "", "Ann"]
