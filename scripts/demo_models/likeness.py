"""How alike voices are to the demo pipeline: what the threshold of known speakers is chosen by.

Half of what each voice says becomes a clip, the other half is laid out in conversations. The
pipeline finds the speakers of those; each is compared with the clip of its own voice and with
those of all others, as the backend compares them.
"""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demo_models.conversations import Cast, Manner, Turn, converse
from demo_models.corpus import Corpus
from synthesis.clip import RATE
from worker.known_voices import similarity

_CONVERSATIONS = 24
_SECONDS = 60.0
_PAUSE = np.zeros(round(0.3 * RATE), np.float32)
# Of the time of a found speaker that has to be one true speaker's, for a comparison to say much.
_PURE = 0.8
_SHARES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)
_THRESHOLDS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8)


@dataclass
class Likeness:
    """Similarities of found speakers to clips."""

    own: list[float] = field(default_factory=list)
    others: list[float] = field(default_factory=list)

    def table(self) -> str:
        """Return both distributions, and what each threshold lets pass."""
        lines = [f"{'':8}" + "".join(f"{share:>8.0%}" for share in _SHARES)]
        for name, values in (("own", self.own), ("others", self.others)):
            quantiles = np.quantile(values, _SHARES)
            figures = "".join(f"{quantile:8.2f}" for quantile in quantiles)
            lines.append(f"{name:8}{figures}  n={len(values)}")
        for threshold in _THRESHOLDS:
            found, mistaken = (
                np.mean(np.asarray(values) >= threshold) for values in (self.own, self.others)
            )
            lines.append(f">= {threshold:.2f}: own {found:6.1%}, others {mistaken:6.2%}")
        return "\n".join(lines)


def halve(corpus: Corpus) -> tuple[Corpus, Corpus]:
    """Return every second clip of each speaker, and the others."""
    seen: Counter[str] = Counter()
    halves: tuple[list[Any], list[Any]] = ([], [])
    for entry in corpus.entries:
        halves[seen[entry.speaker] % 2].append(entry)
        seen[entry.speaker] += 1
    first, second = (Corpus(corpus.samples, half) for half in halves)
    return first, second


def clip_of(corpus: Corpus, speaker: str, seconds: float) -> NDArray[np.float32]:
    """Return what a speaker says, one clip after the other, up to so many seconds."""
    own = [corpus.clip(entry) for entry in corpus.entries if entry.speaker == speaker]
    parts = [part for clip in own for part in (clip, _PAUSE)]
    return np.concatenate(parts)[: round(seconds * RATE)]


def measure(
    pipeline: Any, corpus: Corpus, clip_seconds: tuple[float, ...]
) -> dict[float, Likeness]:
    """Compare the speakers of made-up conversations with clips of all voices.

    Args:
        pipeline: A pyannote pipeline.
        corpus: Voices that it never heard.
        clip_seconds: How long the clips are; each length is measured on its own.
    """
    import torch

    for_clips, for_conversations = halve(corpus)
    cast = Cast(for_conversations)
    clips = {
        seconds: {
            speaker: pipeline._embedding(
                torch.from_numpy(clip_of(for_clips, speaker, seconds))[None, None]
            )[0]
            for speaker in cast.speakers
        }
        for seconds in clip_seconds
    }
    found = {seconds: Likeness() for seconds in clip_seconds}
    chance = Random(21)
    for number in range(_CONVERSATIONS):
        speakers = _different(cast.speakers, 2 + number % 3, chance)
        samples, turns = converse(cast, speakers, _SECONDS, chance, Manner(overlap=0.08))
        file = {"waveform": torch.from_numpy(samples)[None], "sample_rate": RATE, "uri": "x"}
        output = pipeline(file, num_speakers=len(speakers))
        for label, embedding in zip(
            output.speaker_diarization.labels(), output.speaker_embeddings, strict=True
        ):
            who = _who(output.speaker_diarization.label_timeline(label), turns)
            if who is None:
                continue
            for seconds, voices in clips.items():
                for speaker, voice in voices.items():
                    value = similarity(embedding, voice)
                    if value is None:
                        continue
                    if speaker == who:
                        found[seconds].own.append(value)
                    elif voice_of(speaker) != voice_of(who):
                        found[seconds].others.append(value)
        print(".", end="", file=sys.stderr, flush=True)
    return found


def voice_of(speaker: str) -> str:
    """Return the synthesizer's voice: another pitch does not make quite another person of it."""
    return speaker.partition(":")[0].rpartition("+")[2]


def _different(speakers: list[str], count: int, chance: Random) -> list[str]:
    by_voice: dict[str, list[str]] = {}
    for speaker in speakers:
        by_voice.setdefault(voice_of(speaker), []).append(speaker)
    return [chance.choice(by_voice[voice]) for voice in chance.sample(sorted(by_voice), count)]


def _who(timeline: Any, turns: list[Turn]) -> str | None:
    """Return who talks during nearly all of a found speaker's time, if one person does."""
    shared: Counter[str] = Counter()
    for segment in timeline:
        for turn in turns:
            shared[turn.speaker] += max(
                0.0, min(segment.end, turn.end) - max(segment.start, turn.start)
            )
    if not shared or not sum(shared.values()):
        return None
    (who, seconds), total = shared.most_common(1)[0], sum(shared.values())
    return who if seconds >= _PURE * total else None
