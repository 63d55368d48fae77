"""What the speech model hears: the closed vocabulary in every voice there is.

The voices that are kept for measuring speaker labels take part too. The speech model is measured
by sentences that it never heard, not by voices.
"""

from __future__ import annotations

from pathlib import Path

from demo_models.corpus import Corpus, speak_corpus
from demo_models.voices import (
    FLITE_VOICES,
    HELD_OUT_FLITE_VOICES,
    HELD_OUT_VARIANTS,
    VARIANTS,
)

FLITE_SHARE = 0.25


def speak_all_voices(voices: int, sentences: int, seed: int) -> list[Corpus]:
    """Have random voices say random sentences, each variant of a synthesizer equally often.

    Args:
        voices: How many; many that say little make the model depend on none of them.
        sentences: How many each says.
        seed: Decides everything, together with the one after it.

    Returns:
        The corpora of the voices for training speaker labels, and of those for measuring them.
    """
    corpora = []
    for held_out in (False, True):
        variants = HELD_OUT_VARIANTS if held_out else VARIANTS
        flite_voices = HELD_OUT_FLITE_VOICES if held_out else FLITE_VOICES
        by_espeak = len(variants) / len(VARIANTS + HELD_OUT_VARIANTS) * (1 - FLITE_SHARE)
        by_flite = len(flite_voices) / len(FLITE_VOICES + HELD_OUT_FLITE_VOICES) * FLITE_SHARE
        share = by_espeak + by_flite
        spoken = speak_corpus(
            max(1, round(voices * share)),
            sentences,
            seed=seed + held_out,
            held_out=held_out,
            flite_share=by_flite / share,
        )
        corpora.append(spoken)
    return corpora


def save(corpora: list[Corpus], folder: Path, name: str) -> None:
    """Write corpora as `<name>-1`, `<name>-2` and so on."""
    for number, corpus in enumerate(corpora, 1):
        corpus.save(folder / f"{name}-{number}")


def load(folder: Path, name: str) -> list[Corpus]:
    """Read what `save` wrote.

    Raises:
        FileNotFoundError: There is nothing of that name.
    """
    paths = sorted(folder.glob(f"{name}-*.json"))
    if not paths:
        raise FileNotFoundError(f"no corpus {name} in {folder}: run the command speech-corpus")
    return [Corpus.load(path) for path in paths]
