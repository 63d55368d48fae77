"""Which of a recording's speakers are people whose voices were given: nobody, unless alike enough.

Voices are compared by the cosine of the embeddings that the diarization pipeline tells speakers
apart by. How alike two recordings of one voice are depends on that model: docs/speakers.md has what
was measured. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from worker.transcript import VoiceMatch

Embedding = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class KnownVoice:
    """A person and how they sound.

    Attributes:
        name: What to call them.
        clip: Some seconds of their voice alone, 16 kHz mono 16-bit WAV.
    """

    name: str
    clip: Path


@dataclass(frozen=True)
class KnownVoices:
    """The people to look for among the speakers of a recording.

    Attributes:
        people: Their names differ.
        threshold: How alike a speaker has to be to one of them to be called so, -1 to 1.
    """

    people: tuple[KnownVoice, ...]
    threshold: float

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Return the voices that `dataclasses.asdict` made these values of, through JSON."""
        people = [KnownVoice(one["name"], Path(one["clip"])) for one in values["people"]]
        return cls(tuple(people), values["threshold"])


def similarity(one: Embedding, other: Embedding) -> float | None:
    """Return the cosine of the angle between two embeddings, on thousandths.

    None where one of them says nothing: pyannote gives zeros, or no numbers at all, for speakers of
    whom it heard too little.
    """
    length = float(np.linalg.norm(one) * np.linalg.norm(other))
    if not np.isfinite(length) or length == 0:
        return None
    return round(float(one @ other) / length, 3)


def match_voices(
    similarities: Mapping[str, Mapping[str, float | None]], threshold: float
) -> tuple[VoiceMatch, ...]:
    """Say who the speakers are: the surest pair first, each speaker and each name once.

    A speaker who is like nobody stays without a name, and so does whoever is alike enough only to
    somebody who was found already.

    Args:
        similarities: By speaker, and then by name.
        threshold: The least that counts.

    Returns:
        What was found of each speaker, in the order given.
    """
    pairs = [
        (value, speaker, name)
        for speaker, values in similarities.items()
        for name, value in values.items()
        if value is not None
    ]
    found: dict[str, tuple[str, float]] = {}
    given: set[str] = set()
    for value, speaker, name in sorted(pairs, key=lambda pair: -pair[0]):
        if value >= threshold and speaker not in found and name not in given:
            found[speaker] = name, value
            given.add(name)
    return tuple(
        VoiceMatch(speaker, *found.get(speaker, (None, _most(values.values()))))
        for speaker, values in similarities.items()
    )


def _most(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)
