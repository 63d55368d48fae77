"""A transcript in the formats that players, editors and spreadsheets read. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

TranscriptJson = dict[str, Any]

# Subtitles are easiest to read in at most two lines of 42 characters (Netflix Timed Text Style
# Guide, English), shown for at most 7 s.
_CUE_CHARACTERS = 84
_LINE_CHARACTERS = 42
_CUE_SECONDS = 7.0
_SHORTEST_CUE_SECONDS = 0.001


@dataclass(frozen=True)
class Format:
    """How one format is written.

    Attributes:
        media_type: For the Content-Type header.
        render: Makes the text of a transcript's JSON values.
    """

    media_type: str
    render: Callable[[TranscriptJson], str]


@dataclass(frozen=True)
class Cue:
    """A subtitle: text shown for a time."""

    start: float
    end: float
    text: str


def to_json(transcript: TranscriptJson) -> str:
    """Everything, as JSON."""
    return json.dumps(transcript, ensure_ascii=False)


def to_txt(transcript: TranscriptJson) -> str:
    """One line a segment."""
    return "".join(f"{_one_line(segment['text'])}\n" for segment in transcript["segments"])


def to_tsv(transcript: TranscriptJson) -> str:
    """Tab-separated: start and end in whole milliseconds, text."""
    rows = [
        f"{_milliseconds(s['start'])}\t{_milliseconds(s['end'])}\t{_one_line(s['text'])}\n"
        for s in transcript["segments"]
    ]
    return "start\tend\ttext\n" + "".join(rows)


def to_srt(transcript: TranscriptJson) -> str:
    """SubRip subtitles."""
    blocks = [
        f"{number}\n{_clock(cue.start, ',')} --> {_clock(cue.end, ',')}\n{cue.text}\n"
        for number, cue in enumerate(make_cues(transcript["segments"]), start=1)
    ]
    return "\n".join(blocks)


def to_vtt(transcript: TranscriptJson) -> str:
    """WebVTT subtitles."""
    blocks = [
        f"{_clock(cue.start, '.')} --> {_clock(cue.end, '.')}\n{_escape_vtt(cue.text)}\n"
        for cue in make_cues(transcript["segments"])
    ]
    return "\n".join(["WEBVTT\n", *blocks])


FORMATS: dict[str, Format] = {
    "json": Format("application/json", to_json),
    "txt": Format("text/plain; charset=utf-8", to_txt),
    "srt": Format("application/x-subrip; charset=utf-8", to_srt),
    "vtt": Format("text/vtt; charset=utf-8", to_vtt),
    "tsv": Format("text/tab-separated-values; charset=utf-8", to_tsv),
}


def make_cues(segments: Sequence[dict[str, Any]]) -> list[Cue]:
    """Cut segments into subtitles that can be read: by words where there are any."""
    cues = [cue for segment in segments for cue in _segment_cues(segment)]
    # A cue that lasts no time at all is not valid.
    return [Cue(c.start, max(c.end, c.start + _SHORTEST_CUE_SECONDS), c.text) for c in cues]


def _segment_cues(segment: dict[str, Any]) -> Iterator[Cue]:
    words = segment.get("words") or []
    if not words:
        text = _one_line(segment["text"])
        if text:
            yield Cue(segment["start"], segment["end"], _two_lines(text))
        return
    separator = " " if " " in segment["text"] or len(words) == 1 else ""
    group: list[dict[str, Any]] = []
    for word in words:
        text = separator.join(w["word"] for w in [*group, word])
        too_long = len(text) > _CUE_CHARACTERS or (
            group and word["end"] - group[0]["start"] > _CUE_SECONDS
        )
        if group and too_long:
            yield _word_cue(group, separator)
            group = []
        group.append(word)
    yield _word_cue(group, separator)


def _word_cue(words: list[dict[str, Any]], separator: str) -> Cue:
    text = separator.join(word["word"] for word in words)
    return Cue(words[0]["start"], words[-1]["end"], _two_lines(_one_line(text)))


def _two_lines(text: str) -> str:
    """Break a long line at the space nearest to its middle."""
    if len(text) <= _LINE_CHARACTERS:
        return text
    spaces = [match.start() for match in re.finditer(" ", text)]
    if not spaces:
        return text
    middle = min(spaces, key=lambda at: abs(at - len(text) / 2))
    return f"{text[:middle]}\n{text[middle + 1 :]}"


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _escape_vtt(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def _clock(seconds: float, decimal_mark: str) -> str:
    """Return `hh:mm:ss,mmm`."""
    whole, milliseconds = divmod(_milliseconds(seconds), 1000)
    minutes, second = divmod(whole, 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour:02}:{minute:02}:{second:02}{decimal_mark}{milliseconds:03}"
