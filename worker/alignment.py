"""Giving words their times inside a phrase. Pure.

Whisper's phrase times are good to about a tenth of a second; the times that whisper-cli gives to
tokens are not (on the sample recording, 80 % of words within 0.5 s). Spreading a phrase's letters
over its speech puts 99 % of words there: docs/decisions/0008 has the figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from worker.chunking import FRAME_SECONDS, Flags

# With less speech than this in a phrase, its words are spread over all of it.
_FRAMES_PER_WORD = 2


def spread_words(
    words: Sequence[str], start: float, end: float, speech: Flags
) -> list[tuple[float, float]]:
    """Return each word's `(start, end)`: a share of the phrase's speech, by its letters.

    Args:
        words: In order; at least one.
        start: Start of the phrase, in seconds from the start of `speech`.
        end: Its end.
        speech: Which 20 ms frames of the audio hold speech, (frames,).

    Returns:
        Intervals in order, never overlapping, all within `[start, end]`.
    """
    first = int(start / FRAME_SECONDS)
    frames = first + np.flatnonzero(speech[first : int(np.ceil(end / FRAME_SECONDS))])
    letters = np.array([max(1, sum(c.isalnum() for c in word)) for word in words], np.float64)
    edges = np.concatenate(([0.0], np.cumsum(letters))) / letters.sum()
    if frames.size < _FRAMES_PER_WORD * len(words):
        times = start + edges * (end - start)
        return [(float(a), float(b)) for a, b in pairwise(times)]
    # Word i has the frames from places[i] up to places[i + 1]. Rounding may give a short word none:
    # places are pushed on, and at the end back, until each word has at least one.
    count = np.arange(len(words) + 1)
    places = np.maximum.accumulate(np.round(edges * frames.size).astype(int) - count) + count
    places = np.minimum(places, frames.size - count[::-1])
    begins = frames[places[:-1]] * FRAME_SECONDS
    ends = (frames[places[1:] - 1] + 1) * FRAME_SECONDS
    begins, ends = np.clip(begins, start, end), np.clip(ends, start, end)
    return [(float(a), float(max(a, b))) for a, b in zip(begins, ends, strict=True)]


def covered_speech(phrases: Sequence[tuple[float, float]], speech: Flags) -> tuple[float, float]:
    """Return how many seconds of speech lie within phrases, and how many there are."""
    inside = np.zeros(speech.shape, np.bool_)
    for start, end in phrases:
        inside[int(start / FRAME_SECONDS) : int(np.ceil(end / FRAME_SECONDS))] = True
    covered = int(np.count_nonzero(speech & inside)) * FRAME_SECONDS
    return covered, int(np.count_nonzero(speech)) * FRAME_SECONDS
