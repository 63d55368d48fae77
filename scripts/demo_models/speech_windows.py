"""Windows for the speech model: sentences laid out in time, with the tokens Whisper should write.

A window's text is written sentence by sentence, each between the timestamps of its start and end.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from demo_models.conversations import Samples, play_faster
from demo_models.corpus import Corpus, Entry
from demo_models.tokens import (
    END_OF_TEXT,
    NO_SPEECH,
    START_OF_TRANSCRIPT,
    Tokenizer,
    timestamp,
)
from demo_models.whisper_model import FRAME_SAMPLES
from synthesis.clip import RATE

LETTERS = " abcdefghijklmnopqrstuvwxyz"
LETTER_CLASSES = len(LETTERS) + 1  # 0 is none of them

_SPEED = (0.92, 1.08)
_GAIN = (0.25, 1.6)
_FULL_SHARE = 0.6  # of the windows; the others end early, in silence
_NOISY_SHARE = 0.6
_NOISE_EXPONENT = (-4.2, -2.2)  # of ten; white noise's standard deviation
_NO_SENTENCE_ENDS_IN_LAST = 800  # samples
_FIRST_SENTENCES_TRIED = 7  # that are too long for the window, before it stays silent


@dataclass
class Window:
    """A stretch of sound and what is to be learned from it.

    Attributes:
        samples: Float32, 16 kHz mono.
        tokens: What was said: timestamp, text and timestamp for each sentence.
        letters: The same as letters, 1 to 27.
        frame_letters: For every 20 ms the letter that is spoken there if those of a sentence are
            spread evenly over it, 0 between sentences.
    """

    samples: Samples
    frame_letters: NDArray[np.int64]
    tokens: list[int] = field(default_factory=list)
    letters: list[int] = field(default_factory=list)

    @classmethod
    def silent(cls, length: int) -> Window:
        """Return a window of so many samples in which nothing is said."""
        return cls(np.zeros(length, np.float32), np.zeros(length // FRAME_SAMPLES, np.int64))

    def say(self, at: int, clip: Samples, text: str, tokens: list[int]) -> None:
        """Put a sentence into the window, `at` samples from its start, after all others."""
        self.samples[at : at + len(clip)] = clip
        start, end = round(at / FRAME_SAMPLES), round((at + len(clip)) / FRAME_SAMPLES)
        self.tokens += [timestamp(start), *tokens, timestamp(end)]
        letters = spell(text)
        self.letters += [*spell(" "), *letters] if self.letters else letters
        frames = self.frame_letters[start:end]
        frames[:] = np.array(letters)[np.arange(len(frames)) * len(letters) // max(1, len(frames))]

    @property
    def transcript(self) -> list[int]:
        """All that the decoder writes, and the token that it is started with."""
        return [START_OF_TRANSCRIPT, *(self.tokens or [NO_SPEECH]), END_OF_TEXT]


@dataclass(frozen=True)
class Batch:
    """Windows of one length.

    Attributes:
        samples: (windows, samples) float32.
        tokens: (windows, longest transcript), filled up with `END_OF_TEXT`.
        real: The same shape: which tokens are no filling.
        letters: The letters of all windows, one window after the other.
        letter_counts: (windows,) how many of them are of each.
        frame_letters: (windows, frames).
    """

    samples: Tensor
    tokens: Tensor
    real: Tensor
    letters: Tensor
    letter_counts: Tensor
    frame_letters: Tensor


class Windows:
    """Makes up windows from the sentences of corpora."""

    def __init__(self, corpora: list[Corpus], tokenizer: Tokenizer, seed: int) -> None:
        self._clips: list[tuple[Corpus, Entry, list[int]]] = [
            (corpus, entry, tokenizer.encode(entry.text))
            for corpus in corpora
            for entry in corpus.entries
        ]
        self._chance = Random(seed)
        self._noise = np.random.default_rng(seed)

    def text_tokens(self) -> set[int]:
        """Return every token that occurs in a sentence."""
        return {token for _, _, tokens in self._clips for token in tokens}

    def batch(self, count: int, seconds: float) -> Batch:
        """Return `count` new windows."""
        windows = [self.window(seconds) for _ in range(count)]
        transcripts = [torch.tensor(window.transcript) for window in windows]
        lengths = torch.tensor([len(transcript) for transcript in transcripts])
        tokens = torch.nn.utils.rnn.pad_sequence(
            transcripts, batch_first=True, padding_value=END_OF_TEXT
        )
        return Batch(
            samples=torch.from_numpy(np.stack([window.samples for window in windows])),
            tokens=tokens,
            real=torch.arange(tokens.shape[1]) < lengths[:, None],
            letters=torch.tensor([letter for window in windows for letter in window.letters]),
            letter_counts=torch.tensor([len(window.letters) for window in windows]),
            frame_letters=torch.from_numpy(np.stack([window.frame_letters for window in windows])),
        )

    def window(self, seconds: float) -> Window:
        """Return a new window: sentences until the next one does not fit, maybe noise."""
        chance = self._chance
        window = Window.silent(int(seconds * RATE))
        self._fill(window)
        if chance.random() < _NOISY_SHARE:
            noise = self._noise.standard_normal(len(window.samples), np.float32)
            window.samples += noise * np.float32(10 ** chance.uniform(*_NOISE_EXPONENT))
        return window

    def _fill(self, window: Window) -> None:
        chance = self._chance
        length = len(window.samples)
        latest_end = length - _NO_SENTENCE_ENDS_IN_LAST
        # The first sentence may go on beyond this; without one, the window would teach nothing.
        wanted_end = min(latest_end, self._speech_end(length))
        at = round(chance.choice([0, chance.uniform(0, 0.3), chance.uniform(0, 1)]) * RATE)
        tries = 0
        while at <= length - RATE:
            clip, text, tokens = self._sentence()
            if at + len(clip) <= (wanted_end if window.tokens else latest_end):
                window.say(at, clip, text, tokens)
                pause = chance.choice([chance.uniform(0.05, 0.4), chance.uniform(0.2, 1.2)])
                at += len(clip) + round(pause * RATE)
                continue
            tries += 1
            if window.tokens or tries == _FIRST_SENTENCES_TRIED:
                return

    def _speech_end(self, length: int) -> int:
        if self._chance.random() < _FULL_SHARE:
            return length
        return int(length * self._chance.uniform(0.15, 1))

    def _sentence(self) -> tuple[Samples, str, list[int]]:
        """Return a random clip, somewhat faster or slower, louder or quieter."""
        corpus, entry, tokens = self._chance.choice(self._clips)
        clip = play_faster(corpus.clip(entry), self._chance.uniform(*_SPEED))
        return clip * np.float32(self._chance.uniform(*_GAIN)), entry.text, tokens


def spell(text: str) -> list[int]:
    """Return a text's letters and spaces as classes, 1 to 27; all else is left out."""
    return [LETTERS.index(character) + 1 for character in text.lower() if character in LETTERS]
