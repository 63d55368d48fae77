"""A spoken sentence: its samples, the place of its words, and what is done to both."""

from __future__ import annotations

import ctypes
import re
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

Samples: TypeAlias = NDArray[np.float64]

RATE = 16_000
INSTALL_HINT = "install the synthesizers: apt-get install espeak-ng flite"
SPEECH_THRESHOLD = 150.0  # of 32767; quieter samples at a clip's ends are trimmed
KEEP_BEFORE = 160  # samples of lead-in kept before the first loud one
KEEP_AFTER = 320
SPEECH_RMS = 2_700.0
WORD = re.compile(r"[\w'-]+")


class SampleError(Exception):
    """The sample cannot be made; the message says what to do about it."""


@dataclass(frozen=True)
class Word:
    """A spoken word and its place in seconds."""

    word: str
    start: float
    end: float

    def moved(self, seconds: float, limit: float) -> Word:
        """Return the word moved by `seconds`, kept between 0 and `limit`."""
        start, end = (min(max(t + seconds, 0.0), limit) for t in (self.start, self.end))
        return Word(self.word, start, end)


@dataclass(frozen=True)
class Clip:
    """One spoken sentence, 16 kHz, with the words' places in it."""

    samples: Samples
    words: list[Word]

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return len(self.samples) / RATE


@dataclass(frozen=True)
class VoiceSpec:
    """How a speaker sounds; `None` keeps the synthesizer's own rate or pitch."""

    engine: str
    voice: str
    rate: float | None = None
    pitch: float | None = None


class Synthesizer(Protocol):
    """Speaks sentences with one voice."""

    def speak(self, text: str) -> Clip:
        """Return `text` spoken, untrimmed, at 16 kHz."""
        ...


def load_library(name: str) -> ctypes.CDLL:
    """Load a shared library or say how to install it."""
    try:
        return ctypes.CDLL(name)
    except OSError as error:
        raise SampleError(f"cannot load {name} ({error}); {INSTALL_HINT}") from error


def resample(samples: Samples, rate: int) -> Samples:
    """Return the samples at 16 kHz, resampled in the frequency domain."""
    if rate == RATE:
        return samples
    common = int(np.gcd(rate, RATE))
    step, out_step = rate // common, RATE // common
    blocks = -(-len(samples) // step) + 1  # one block of padding, against wrap-around
    padded = np.zeros(blocks * step)
    padded[: len(samples)] = samples
    spectrum = np.fft.rfft(padded)
    length = blocks * out_step
    wanted = np.zeros(length // 2 + 1, dtype=spectrum.dtype)
    kept = min(len(wanted), len(spectrum))
    wanted[:kept] = spectrum[:kept]
    scaled = np.fft.irfft(wanted, length) * (out_step / step)
    return scaled[: round(len(samples) * out_step / step)]


def trim(clip: Clip) -> Clip:
    """Cut the silence at both ends, level the loudness and move the words along."""
    loud = np.flatnonzero(np.abs(clip.samples) > SPEECH_THRESHOLD)
    if not len(loud):
        raise SampleError("a sentence came out silent")
    first = max(0, int(loud[0]) - KEEP_BEFORE)
    samples = clip.samples[first : int(loud[-1]) + KEEP_AFTER]
    samples = samples * (SPEECH_RMS / np.sqrt(np.mean(samples**2)))
    words = [word.moved(-first / RATE, len(samples) / RATE) for word in clip.words]
    return Clip(samples, words)
