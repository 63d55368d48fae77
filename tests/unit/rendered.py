"""Transcripts to render in other formats, and what reads them back."""

import html

import srt
import webvtt

LONG = " ".join(f"word{number}" for number in range(150))


def segment(text, start=0.0, seconds=2.0, separator=" "):
    """A segment of evenly spoken words; a word may hold line breaks."""
    texts = [part for part in text.split(separator) if part] if separator else list(text)
    step = seconds / len(texts)
    words = [
        {"word": word, "start": round(start + i * step, 3), "end": round(start + (i + 1) * step, 3)}
        for i, word in enumerate(texts)
    ]
    return {"start": start, "end": words[-1]["end"], "text": separator.join(texts), "words": words}


def squeezed(text):
    return "".join(text.split())


def one_line(text):
    return " ".join(text.split())


def read_srt(text):
    """Cues as (start, end, text); refuses anything between them."""
    found = list(srt.parse(text))
    assert [cue.index for cue in found] == list(range(1, len(found) + 1))
    return [(cue.start.total_seconds(), cue.end.total_seconds(), cue.content) for cue in found]


def read_vtt(text):
    return [
        (
            cue.start_time.in_milliseconds() / 1000,
            cue.end_time.in_milliseconds() / 1000,
            html.unescape(cue.text),
        )
        for cue in webvtt.from_string(text)
    ]
