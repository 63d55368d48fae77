"""Conversations that never were: clips of a few speakers laid out in time, with who talks when."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from random import Random

import numpy as np
from numpy.typing import NDArray

from demo_models.corpus import Corpus, Entry
from synthesis.clip import RATE

Samples = NDArray[np.float32]

_LONGEST_CLIP_SECONDS = 6.0


@dataclass(frozen=True)
class Turn:
    """A stretch in which one speaker talks, seconds."""

    start: float
    end: float
    speaker: str


@dataclass(frozen=True)
class Manner:
    """How people take turns.

    Attributes:
        overlap: How often a new speaker begins before the other has ended.
        same_speaker: How often the same speaker goes on after a pause.
        mean_pause: Of the pauses between sentences, seconds.
        long_pause: How often a pause lasts several seconds.
        noise: Whether noise, an echo and differences of loudness are added.
    """

    overlap: float = 0.12
    same_speaker: float = 0.35
    mean_pause: float = 0.45
    long_pause: float = 0.04
    noise: bool = True


class Cast:
    """The speakers of several corpora and their clips."""

    def __init__(self, *corpora: Corpus) -> None:
        self._clips: dict[str, list[tuple[Corpus, Entry]]] = defaultdict(list)
        for corpus in corpora:
            for entry in corpus.entries:
                self._clips[entry.speaker].append((corpus, entry))
        self.speakers = sorted(self._clips)

    def clip(self, speaker: str, chance: Random) -> Samples:
        """Return something that a speaker says, float32 in [-1, 1]; of a long clip, a part."""
        corpus, entry = chance.choice(self._clips[speaker])
        clip = corpus.clip(entry)
        longest = round(chance.uniform(1, _LONGEST_CLIP_SECONDS) * RATE)
        if len(clip) <= _LONGEST_CLIP_SECONDS * RATE:
            return clip
        first = chance.randrange(len(clip) - longest)
        return clip[first : first + longest]


def converse(
    cast: Cast,
    speakers: list[str],
    seconds: float,
    chance: Random,
    manner: Manner | None = None,
    warp: tuple[float, float] = (1.0, 1.0),
) -> tuple[Samples, list[Turn]]:
    """Make up a conversation.

    Args:
        cast: Where the clips come from.
        speakers: Who takes part.
        seconds: How long it lasts.
        chance: Source of randomness.
        manner: How they take turns.
        warp: Range of the factor by which each voice is played faster or slower, which moves its
            pitch and formants: another voice, in effect.

    Returns:
        Samples, float32 mono 16 kHz, and the turns in order of their start.
    """
    manner = manner or Manner()
    mix = np.zeros(round(seconds * RATE), np.float32)
    traits = {who: (chance.uniform(*warp), _gain(chance, manner)) for who in speakers}
    turns: list[Turn] = []
    at, who = chance.choice([0.0, chance.uniform(0, 1.5)]), chance.choice(speakers)
    while at < seconds:
        factor, gain = traits[who]
        clip = play_faster(cast.clip(who, chance), factor) * gain
        first = max(0, round(at * RATE))
        part = clip[: max(0, len(mix) - first)]
        mix[first : first + len(part)] += part
        if len(part):
            turns.append(Turn(first / RATE, (first + len(part)) / RATE, who))
        at = first / RATE + len(clip) / RATE
        speaker_before = who
        if chance.random() > manner.same_speaker:
            who = chance.choice([other for other in speakers if other != who] or speakers)
        at += _pause(chance, manner, may_overlap=who != speaker_before, longest=len(clip) / RATE)
    if manner.noise:
        mix = _disturb(mix, chance)
    return mix, turns


def play_faster(samples: Samples, factor: float) -> Samples:
    """Return samples played `factor` times as fast, by linear interpolation."""
    if abs(factor - 1) < 0.01:
        return samples
    places = np.arange(0, len(samples) - 1, factor)
    return np.asarray(np.interp(places, np.arange(len(samples)), samples), np.float32)


def add_noise(samples: Samples, chance: Random) -> Samples:
    """Add white or low-pitched noise, some 10 to 50 dB below the speech."""
    generator = np.random.default_rng(chance.getrandbits(32))
    noise = generator.standard_normal(len(samples)).astype(np.float32)
    if chance.random() < 0.5:
        spectrum = np.fft.rfft(noise)
        spectrum /= np.sqrt(np.arange(1, len(spectrum) + 1))  # pink
        noise = np.fft.irfft(spectrum, len(samples)).astype(np.float32)
        noise /= np.sqrt(np.mean(noise**2)) + 1e-9
    level = 10 ** (-chance.uniform(10, 50) / 20)
    return samples + noise * np.float32(level * (np.sqrt(np.mean(samples**2)) + 1e-4))


def add_echo(samples: Samples, chance: Random) -> Samples:
    """Put a recording into a small room: noise that dies away within a quarter of a second."""
    seconds = chance.uniform(0.05, 0.25)
    generator = np.random.default_rng(chance.getrandbits(32))
    times = np.arange(round(seconds * 2 * RATE)) / RATE
    response = generator.standard_normal(len(times)) * np.exp(-6.9 * times / seconds / 2)
    response *= chance.uniform(0.1, 0.6) / np.sqrt(np.sum(response**2))
    response[0] = 1.0
    length = len(samples) + len(response) - 1
    size = 1 << (length - 1).bit_length()
    wet = np.fft.irfft(np.fft.rfft(samples, size) * np.fft.rfft(response, size), size)
    return np.asarray(wet[: len(samples)], np.float32)


def _gain(chance: Random, manner: Manner) -> float:
    return 10 ** (chance.uniform(-8, 4) / 20) if manner.noise else 1.0


def _pause(chance: Random, manner: Manner, *, may_overlap: bool, longest: float) -> float:
    if may_overlap and chance.random() < manner.overlap:
        return -chance.uniform(0.1, min(2.0, 0.8 * longest))
    if chance.random() < manner.long_pause:
        return chance.uniform(2, 6)
    return 0.05 + chance.expovariate(1 / manner.mean_pause)


def _disturb(mix: Samples, chance: Random) -> Samples:
    if chance.random() < 0.3:
        mix = add_echo(mix, chance)
    if chance.random() < 0.9:
        mix = add_noise(mix, chance)
    loudest = float(np.max(np.abs(mix))) or 1.0
    return mix * np.float32(min(1.0, 0.99 / loudest) * 10 ** (-chance.uniform(0, 12) / 20))
