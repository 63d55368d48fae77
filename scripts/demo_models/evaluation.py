"""How well the demo pipeline tells speakers apart: the diarization error rate on several sets."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from demo_models.conversations import Cast, Manner, Samples, Turn, converse
from demo_models.real_speech import (
    LIBRISPEECH_HELD_OUT,
    decode,
    load_ami_meetings,
    load_librispeech,
    load_rttm,
)
from synthesis.clip import RATE
from worker.media import find_ffmpeg
from worker.pyannote_import import import_pyannote

# pyannote.metrics takes the collar's whole width: 0.25 s forgives 0.125 s on either side.
COLLARS = (0.25, 0.0)


@dataclass(frozen=True)
class Recording:
    """A recording with its truth."""

    name: str
    samples: Samples
    turns: list[Turn]

    @property
    def speaker_count(self) -> int:
        """How many people really speak."""
        return len({turn.speaker for turn in self.turns})


def make_conversations(cast: Cast, folder: Path, seed: int = 11) -> None:
    """Write five conversations of unseen voices as Opus with their turns as RTTM."""
    chance = Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    manner = Manner(overlap=0.08, same_speaker=0.4, mean_pause=0.5)
    for number, (count, seconds) in enumerate([(2, 60), (3, 75), (4, 90), (2, 60), (3, 75)], 1):
        speakers = _different_voices(cast, count, chance)
        samples, turns = converse(cast, speakers, seconds, chance, manner)
        name = f"conversation-{number}"
        _write_opus(folder / f"{name}.opus", samples)
        lines = [
            f"SPEAKER {name} 1 {t.start:.3f} {t.end - t.start:.3f} <NA> <NA> "
            f"{t.speaker.partition(':')[0]} <NA> <NA>\n"
            for t in turns
        ]
        (folder / f"{name}.rttm").write_text("".join(lines))


def read_conversations(folder: Path) -> Iterator[Recording]:
    """Return what `make_conversations` wrote."""
    for path in sorted(folder.glob("*.opus")):
        samples = decode(path).astype(np.float32) / np.float32(32768)
        yield Recording(path.stem, samples, load_rttm(path.with_suffix(".rttm"))[path.stem])


def read_sample(wav: Path) -> Recording:
    """Return a recording of `scripts/make_sample.py`."""
    truth = json.loads(wav.with_suffix(".json").read_text())
    turns = [Turn(turn["start"], turn["end"], turn["speaker"]) for turn in truth["turns"]]
    return Recording(wav.stem, decode(wav).astype(np.float32) / np.float32(32768), turns)


def read_librispeech(folder: Path, seed: int = 12) -> Iterator[Recording]:
    """Make up conversations of readers who were kept from training."""
    chance = Random(seed)
    cast = Cast(load_librispeech(folder, LIBRISPEECH_HELD_OUT))
    for number, count in enumerate((2, 3, 4, 2, 3), 1):
        speakers = chance.sample(cast.speakers, count)
        samples, turns = converse(cast, speakers, 75, chance, Manner(overlap=0.08))
        yield Recording(f"librispeech-{number}", samples, turns)


def read_ami(folder: Path, prefix: str = "dev") -> Iterator[Recording]:
    """Return the annotated parts of AMI excerpts."""
    for name, (samples, turns) in load_ami_meetings(folder, prefix).items():
        yield Recording(name, samples, turns)


def error_rates(pipeline: Any, recordings: list[Recording], *, told: bool) -> dict[float, float]:
    """Return the diarization error rate over recordings, for each collar.

    Args:
        pipeline: A pyannote pipeline.
        recordings: What to run it on.
        told: Whether it is told how many speakers there are.
    """
    import_pyannote()
    import torch
    from pyannote.core import Annotation, Segment, Timeline
    from pyannote.metrics.diarization import DiarizationErrorRate

    metrics = {collar: DiarizationErrorRate(collar=collar) for collar in COLLARS}
    for recording in recordings:
        reference = Annotation(uri=recording.name)
        for number, turn in enumerate(recording.turns):
            reference[Segment(turn.start, turn.end), number] = turn.speaker
        waveform = torch.from_numpy(recording.samples)[None]
        hints = {"num_speakers": recording.speaker_count} if told else {}
        file = {"waveform": waveform, "sample_rate": RATE, "uri": recording.name}
        output = pipeline(file, **hints).speaker_diarization
        whole = Timeline([Segment(0, len(recording.samples) / RATE)], uri=recording.name)
        for metric in metrics.values():
            metric(reference, output, uem=whole)
    return {collar: float(abs(metric)) for collar, metric in metrics.items()}


def _different_voices(cast: Cast, count: int, chance: Random) -> list[str]:
    """Pick speakers whose synthesizer voices differ, whatever their accent and pitch."""
    by_voice: dict[str, list[str]] = {}
    for speaker in cast.speakers:
        by_voice.setdefault(speaker.partition(":")[0].rpartition("+")[2], []).append(speaker)
    return [chance.choice(by_voice[voice]) for voice in chance.sample(sorted(by_voice), count)]


def _write_opus(path: Path, samples: Samples) -> None:
    argv = [find_ffmpeg(), "-v", "error", "-y", "-f", "f32le", "-ar", str(RATE), "-ac", "1",
            "-i", "-", "-c:a", "libopus", "-b:a", "32k", str(path)]  # fmt: skip
    subprocess.run(argv, check=True, input=samples.astype("<f4").tobytes())  # noqa: S603
