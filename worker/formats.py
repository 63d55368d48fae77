"""A transcript in the formats that players, editors and spreadsheets read. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

TranscriptJson = dict[str, Any]
# By the id of a speaker; a segment's may be None, which never is in here.
BySpeaker = Mapping[str | None, str]

# Subtitles are easiest to read in at most two lines of 42 characters (Netflix Timed Text Style
# Guide, English), shown for at most 7 s.
_CUE_CHARACTERS = 84
_LINE_CHARACTERS = 42
_CUE_SECONDS = 7.0
_SHORTEST_CUE_SECONDS = 0.001
# What readers see where the engine failed.
_GAP_TEXT = "[not transcribed]"


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
    """A subtitle: text shown for a time, and the id of who says it."""

    start: float
    end: float
    text: str
    speaker: str | None = None


def to_json(transcript: TranscriptJson) -> str:
    """Everything, as JSON."""
    return json.dumps(transcript, ensure_ascii=False)


def to_txt(transcript: TranscriptJson) -> str:
    """One line a segment; of a known speaker, one for all segments in a row."""
    labels = _labels(transcript)
    lines: list[str] = []
    for speaker, run in groupby(_with_gaps(transcript), key=lambda s: s.get("speaker")):
        texts = [_one_line(segment["text"]) for segment in run]
        lines += [f"{labels[speaker]}: {' '.join(texts)}"] if speaker in labels else texts
    return "".join(f"{line}\n" for line in lines)


def to_tsv(transcript: TranscriptJson) -> str:
    """Tab-separated: start and end in whole milliseconds, text, speaker where any is known."""
    labels = _labels(transcript)
    rows = [["start", "end", "text", "speaker"]]
    for s in _with_gaps(transcript):
        times = [str(_milliseconds(s["start"])), str(_milliseconds(s["end"]))]
        rows.append([*times, _one_line(s["text"]), labels.get(s.get("speaker"), "")])
    return "".join("\t".join(row if labels else row[:3]) + "\n" for row in rows)


def to_srt(transcript: TranscriptJson) -> str:
    """SubRip subtitles, each beginning with its speaker where that is known."""
    prefixes = {speaker: f"{label}: " for speaker, label in _labels(transcript).items()}
    blocks = [
        f"{number}\n{_clock(cue.start, ',')} --> {_clock(cue.end, ',')}\n{cue.text}\n"
        for number, cue in enumerate(make_cues(_with_gaps(transcript), prefixes), start=1)
    ]
    return "\n".join(blocks)


def to_vtt(transcript: TranscriptJson) -> str:
    """WebVTT subtitles, as voice spans where the speaker is known."""
    labels = _labels(transcript)
    blocks = [
        f"{_clock(cue.start, '.')} --> {_clock(cue.end, '.')}\n{_voice(cue, labels)}\n"
        for cue in make_cues(_with_gaps(transcript))
    ]
    return "\n".join(["WEBVTT\n", *blocks])


def to_rttm(transcript: TranscriptJson) -> str:
    """Who talks when, in NIST's Rich Transcription Time Marked format."""
    labels = _labels(transcript)
    recording = _rttm_field(transcript.get("job_id") or "recording")
    return "".join(
        f"SPEAKER {recording} 1 {turn['start']:.3f} {turn['end'] - turn['start']:.3f} "
        f"<NA> <NA> {_rttm_field(labels.get(turn['speaker'], turn['speaker']))} <NA> <NA>\n"
        for turn in transcript.get("turns", [])
    )


FORMATS: dict[str, Format] = {
    "json": Format("application/json", to_json),
    "txt": Format("text/plain; charset=utf-8", to_txt),
    "srt": Format("application/x-subrip; charset=utf-8", to_srt),
    "vtt": Format("text/vtt; charset=utf-8", to_vtt),
    "tsv": Format("text/tab-separated-values; charset=utf-8", to_tsv),
    "rttm": Format("text/plain; charset=utf-8", to_rttm),
}


def make_cues(segments: Sequence[dict[str, Any]], prefixes: BySpeaker | None = None) -> list[Cue]:
    """Cut segments into subtitles that can be read: by words where there are any.

    Args:
        segments: As in the JSON.
        prefixes: What each cue of a speaker begins with.
    """
    cues = [
        cue
        for segment in segments
        for cue in _segment_cues(segment, (prefixes or {}).get(segment.get("speaker"), ""))
    ]
    # A cue that lasts no time at all is not valid.
    return [replace(c, end=max(c.end, c.start + _SHORTEST_CUE_SECONDS)) for c in cues]


def _segment_cues(segment: dict[str, Any], prefix: str) -> Iterator[Cue]:
    words, speaker = segment.get("words") or [], segment.get("speaker")
    if not words:
        text = _one_line(segment["text"])
        if text:
            yield Cue(segment["start"], segment["end"], _two_lines(prefix + text), speaker)
        return
    separator = "" if segment["text"] == "".join(word["word"] for word in words) else " "
    # Beside a very long name, words still have a line of their own.
    room = max(_CUE_CHARACTERS - len(prefix), _LINE_CHARACTERS)
    for group in _group_words(words, separator, room):
        text = prefix + _one_line(separator.join(word["word"] for word in group))
        yield Cue(group[0]["start"], group[-1]["end"], _two_lines(text), speaker)


def _group_words(
    words: list[dict[str, Any]], separator: str, room: int
) -> Iterator[list[dict[str, Any]]]:
    """Yield words in groups of at most `room` characters that are short enough to be shown."""
    group: list[dict[str, Any]] = []
    for word in words:
        text = separator.join(w["word"] for w in [*group, word])
        too_long = len(text) > room or (group and word["end"] - group[0]["start"] > _CUE_SECONDS)
        if group and too_long:
            yield group
            group = []
        group.append(word)
    yield group


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


def _with_gaps(transcript: TranscriptJson) -> list[dict[str, Any]]:
    """Return the segments, with one in each place where something could not be transcribed."""
    gaps = [
        {"start": gap["start"], "end": gap["end"], "text": _GAP_TEXT}
        for gap in transcript.get("gaps", [])
    ]
    return (
        sorted([*transcript["segments"], *gaps], key=lambda s: s["start"])
        if gaps
        else (transcript["segments"])
    )


def _labels(transcript: TranscriptJson) -> BySpeaker:
    """Return what speakers are called, by id; nothing where none are known.

    A label is what people type: whatever it holds, it stays on one line and is not empty.
    """
    speakers = transcript.get("speakers", [])
    return {speaker["id"]: _one_line(speaker["label"]) or speaker["id"] for speaker in speakers}


def _voice(cue: Cue, labels: BySpeaker) -> str:
    """Return a cue's text for WebVTT, as its speaker's where that is known."""
    text = _escape_vtt(cue.text)
    label = labels.get(cue.speaker)
    return f"<v {_escape_vtt(label)}>{text}</v>" if label else text


def _rttm_field(text: str) -> str:
    """Fields are separated by space; some readers take a double quote for the start of a string."""
    return re.sub(r'[\s"]+', "_", text)


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
