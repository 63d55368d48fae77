"""Transcripts as openai/whisper writes them to JSON, which several servers have taken over. Pure.

What our transcripts do not hold is derived where that is exact enough, and otherwise left as
Whisper leaves it where it knows nothing.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from typing import Any

TranscriptJson = dict[str, Any]

# Whisper counts in frames of 10 ms.
_FRAMES_PER_SECOND = 100
# What a probability of nothing is taken for: its logarithm has no value.
_LEAST_PROBABILITY = 1e-10


def segments_of(transcript: TranscriptJson, temperature: float) -> list[dict[str, Any]]:
    """Return the segments of a transcript with Whisper's fields.

    Their texts begin with a space, as Whisper's do: joined, they are the whole text.
    `avg_logprob` is the logarithm of the mean probability of the tokens (Whisper: the mean of
    their logarithms, which is a little lower); `seek` is where the segment begins (Whisper: its
    window). Token ids are not kept, and no probability of silence: there was none to transcribe.
    """
    return [
        {
            "id": index,
            "seek": round(segment["start"] * _FRAMES_PER_SECOND),
            "start": segment["start"],
            "end": segment["end"],
            "text": f" {segment['text']}",
            "tokens": [],
            "temperature": temperature,
            "avg_logprob": logprob(segment["confidence"]),
            "compression_ratio": _compression_ratio(segment["text"]),
            "no_speech_prob": 0.0,
        }
        for index, segment in enumerate(transcript["segments"])
    ]


def words_of(segment: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a segment's words, each with the space before it."""
    words = [
        {
            "word": text,
            "start": word["start"],
            "end": word["end"],
            "probability": word["confidence"],
        }
        for word, text in zip(segment["words"], _spelt(segment), strict=True)
    ]
    return words


def tokens_of(transcript: TranscriptJson) -> Iterator[dict[str, Any]]:
    """Yield each word's probability; their texts joined are the whole text."""
    space = ""
    for segment in transcript["segments"]:
        for word, text in zip(segment["words"], _spelt(segment), strict=True):
            token = text if space else text.lstrip()
            space = " "
            yield {
                "token": token,
                "logprob": logprob(word["confidence"]),
                "bytes": list(token.encode()),
            }


def logprob(confidence: float) -> float:
    """Return the natural logarithm of a probability."""
    return round(math.log(max(confidence, _LEAST_PROBABILITY)), 4)


def _spelt(segment: dict[str, Any]) -> list[str]:
    """Return the texts of a segment's words with the spaces that stand before them."""
    texts = [word["word"] for word in segment["words"]]
    between = "" if segment["text"] == "".join(texts) else " "
    return [f"{' ' if number == 0 else between}{text}" for number, text in enumerate(texts)]


def _compression_ratio(text: str) -> float:
    content = text.encode()
    return round(len(content) / len(zlib.compress(content)), 4)
