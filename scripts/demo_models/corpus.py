"""Sentences by many voices, spoken once and kept as one array with an index."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from multiprocessing import Pool
from pathlib import Path
from random import Random

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from demo_models.sentences import sentence
from demo_models.voices import random_voice
from synthesis import ENGINES
from synthesis.clip import RATE, SampleError, VoiceSpec, trim

SHORTEST_SECONDS, LONGEST_SECONDS = 0.2, 9.5


@dataclass(frozen=True)
class Entry:
    """One clip of a corpus.

    Attributes:
        start: Its first sample in the array.
        length: How many samples it has.
        text: What is said.
        speaker: Who says it, the synthesizer's voice first; the same voice with the same pitch.
    """

    start: int
    length: int
    text: str
    speaker: str


@dataclass(frozen=True)
class Corpus:
    """Clips of one or more speakers each, 16 kHz mono int16 in one array."""

    samples: NDArray[np.int16]
    entries: list[Entry]

    def clip(self, entry: Entry) -> NDArray[np.float32]:
        """Return a clip as float32 in [-1, 1]."""
        part = self.samples[entry.start : entry.start + entry.length]
        return part.astype(np.float32) / np.float32(32768)

    def save(self, path: Path) -> None:
        """Write `<path>.npy` and `<path>.json`."""
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path.with_suffix(".npy"), self.samples)
        path.with_suffix(".json").write_text(json.dumps([asdict(e) for e in self.entries]))

    @classmethod
    def load(cls, path: Path) -> Corpus:
        """Read what `save` wrote; the samples stay on disk until they are used."""
        entries = [Entry(**values) for values in json.loads(path.with_suffix(".json").read_text())]
        return cls(np.load(path.with_suffix(".npy"), mmap_mode="r"), entries)


def speak_corpus(
    voices: int, sentences: int, *, seed: int, held_out: bool = False, flite_share: float = 0.15
) -> Corpus:
    """Have random voices say random sentences.

    Args:
        voices: How many.
        sentences: How many each says.
        seed: Decides everything.
        held_out: Voices kept for measuring, instead of those for training.
        flite_share: Share of flite's voices.
    """
    chance = Random(seed)
    work = []
    for number in range(voices):
        spec = random_voice(chance, held_out=held_out, flite_share=flite_share)
        work.append(
            (f"{spec.voice}:{seed}-{number}", spec, [sentence(chance) for _ in range(sentences)])
        )
    entries: list[Entry] = []
    parts: list[NDArray[np.int16]] = []
    at = 0
    with Pool() as pool:
        for speaker, clips in tqdm(
            pool.imap(_speak, work), total=voices, desc="speaking", disable=None
        ):
            for text, samples in clips:
                entries.append(Entry(at, len(samples), text, speaker))
                parts.append(samples)
                at += len(samples)
    return Corpus(np.concatenate(parts), entries)


def _speak(
    work: tuple[str, VoiceSpec, list[str]],
) -> tuple[str, list[tuple[str, NDArray[np.int16]]]]:
    speaker, spec, texts = work
    return speaker, list(_clips(spec, texts))


def _clips(spec: VoiceSpec, texts: list[str]) -> Iterator[tuple[str, NDArray[np.int16]]]:
    voice = ENGINES[spec.engine](spec)
    for text in texts:
        try:
            clip = trim(voice.speak(text))
        except SampleError:
            continue  # a sentence that flite spells differently
        if SHORTEST_SECONDS < clip.duration < LONGEST_SECONDS:
            yield text, np.clip(clip.samples, -32767, 32767).astype(np.int16)


def hours(corpus: Corpus) -> float:
    """Return how much speech a corpus holds."""
    return len(corpus.samples) / RATE / 3600
