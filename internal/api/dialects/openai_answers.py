"""Transcripts in the formats that OpenAI's API answers with. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any

from internal.api.dialects.common import Finished, language_name
from internal.api.dialects.whisper_json import TranscriptJson, segments_of, tokens_of
from worker.formats import to_srt, to_vtt

# Who says what belongs to nobody's turn.
_NOBODY = "Unknown"


@dataclass(frozen=True)
class Rendering:
    """How a transcript is to be answered.

    Attributes:
        response_format: One of OpenAI's.
        words: Of verbose_json: whether words are listed.
        segments: Of verbose_json: whether segments are.
        logprobs: Of json: whether each word's probability is.
    """

    response_format: str
    words: bool = False
    segments: bool = True
    logprobs: bool = False


def render(finished: Finished, rendering: Rendering) -> str | dict[str, Any]:
    """Return a transcript as text, or as JSON values."""
    transcript = finished.transcript
    match rendering.response_format:
        case "text":
            return f"{transcript['text']}\n"
        case "srt":
            return to_srt(transcript)
        case "vtt":
            return to_vtt(transcript)
        case "verbose_json":
            return _verbose(finished, rendering)
        case "diarized_json":
            return {
                "task": "transcribe",
                "duration": transcript["duration"],
                "text": transcript["text"],
                "segments": diarized_segments(transcript),
                "usage": usage_of(transcript),
            }
        case _:
            values = {"text": transcript["text"], "usage": usage_of(transcript)}
            if rendering.logprobs:
                values["logprobs"] = list(tokens_of(transcript))
            return values


def diarized_segments(transcript: TranscriptJson) -> list[dict[str, Any]]:
    """Return the segments with who says them: by a known name, or by a letter."""
    names = _speaker_names(transcript)
    return [
        {
            "type": "transcript.text.segment",
            "id": f"seg_{number:03}",
            "start": segment["start"],
            "end": segment["end"],
            "text": segment["text"],
            "speaker": names.get(segment["speaker"], _NOBODY),
        }
        for number, segment in enumerate(transcript["segments"], start=1)
    ]


def usage_of(transcript: TranscriptJson) -> dict[str, Any]:
    """Return what would be charged for, if anything were."""
    return {"type": "duration", "seconds": transcript["duration"]}


def _verbose(finished: Finished, rendering: Rendering) -> dict[str, Any]:
    transcript, options = finished.transcript, finished.job.options
    translated = options.task == "translate"
    values: dict[str, Any] = {
        "task": options.task,
        "language": "english" if translated else language_name(transcript["language"]),
        "duration": transcript["duration"],
        "text": transcript["text"],
        "usage": usage_of(transcript),
    }
    if rendering.segments:
        values["segments"] = segments_of(transcript, options.temperature)
    if rendering.words:
        values["words"] = [
            {"word": word["word"], "start": word["start"], "end": word["end"]}
            for segment in transcript["segments"]
            for word in segment["words"]
        ]
    return values


def _speaker_names(transcript: TranscriptJson) -> dict[str, str]:
    """Return what each speaker is called, by id; those not known in the order they appear in."""
    labels = {s["id"]: s["label"] for s in transcript["speakers"] if s.get("known")}
    taken = set(labels.values())
    letters = (letter for n in range(1, 1000) if (letter := _letters(n)) not in taken)
    for segment in transcript["segments"]:
        if segment["speaker"] is not None and segment["speaker"] not in labels:
            labels[segment["speaker"]] = next(letters)
    return labels


def _letters(number: int) -> str:
    """Return A for 1, Z for 26, AA for 27."""
    text = ""
    while number:
        number, digit = divmod(number - 1, len(ascii_uppercase))
        text = ascii_uppercase[digit] + text
    return text
