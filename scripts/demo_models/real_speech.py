"""Real voices: LibriSpeech utterances and AMI excerpts, from a folder laid out as described.

    <folder>/librispeech/SPEAKER-CHAPTER-UTTERANCE.flac
    <folder>/ami/NAME.flac, reference.rttm (the first 30 s of each are annotated)

Both are CC BY 4.0 and not part of the repository.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from demo_models.conversations import Turn
from demo_models.corpus import Corpus, Entry
from synthesis.clip import RATE
from worker.media import find_ffmpeg

# Half of the eight speakers are kept for measuring.
LIBRISPEECH_TRAINING = ("1688", "1998", "2609", "3331")
LIBRISPEECH_HELD_OUT = ("2033", "2414", "3080", "533")
AMI_ANNOTATED_SECONDS = 30.0

_LONGEST_PAUSE_SECONDS = 0.4
_FRAME = 320  # 20 ms
_QUIET = 0.06  # of an utterance's loudest frames


def load_librispeech(folder: Path, speakers: tuple[str, ...]) -> Corpus:
    """Return the utterances of some speakers, cut at their pauses."""
    entries: list[Entry] = []
    parts: list[NDArray[np.int16]] = []
    at = 0
    for path in sorted((folder / "librispeech").glob("*.flac")):
        speaker = path.name.partition("-")[0]
        if speaker not in speakers:
            continue
        utterance = decode(path)
        for start, end in spoken_parts(utterance):
            entries.append(Entry(at + start, end - start, "", f"librispeech-{speaker}"))
        parts.append(utterance)
        at += len(utterance)
    return Corpus(np.concatenate(parts), entries)


def load_ami_voices(folder: Path, prefix: str = "trn") -> Corpus:
    """Return what AMI speakers say while nobody else talks, at least half a second each."""
    entries: list[Entry] = []
    parts: list[NDArray[np.int16]] = []
    at = 0
    for path in sorted((folder / "ami").glob(f"{prefix}*.flac")):
        turns = load_rttm(folder / "ami" / "reference.rttm")[path.stem]
        parts.append(decode(path))
        for turn in turns:
            others = [other for other in turns if other.speaker != turn.speaker]
            for start, end in _alone(turn, others):
                first, last = round(start * RATE), round(end * RATE)
                entries.append(Entry(at + first, last - first, "", f"ami-{turn.speaker}"))
        at += len(parts[-1])
    return Corpus(np.concatenate(parts), entries)


def load_ami_meetings(
    folder: Path, prefix: str
) -> dict[str, tuple[NDArray[np.float32], list[Turn]]]:
    """Return the annotated start of each excerpt with its turns, by name."""
    meetings = {}
    turns = load_rttm(folder / "ami" / "reference.rttm")
    for path in sorted((folder / "ami").glob(f"{prefix}*.flac")):
        samples = decode(path)[: round(AMI_ANNOTATED_SECONDS * RATE)]
        meetings[path.stem] = samples.astype(np.float32) / np.float32(32768), turns[path.stem]
    return meetings


def load_rttm(path: Path) -> dict[str, list[Turn]]:
    """Return the turns of each recording in an RTTM file, in order of their start."""
    turns: dict[str, list[Turn]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        fields = line.split()
        start, seconds = float(fields[3]), float(fields[4])
        turns.setdefault(fields[1], []).append(Turn(start, start + seconds, fields[7]))
    return {name: sorted(found, key=lambda turn: turn.start) for name, found in turns.items()}


def decode(path: Path) -> NDArray[np.int16]:
    """Return a recording's samples, 16 kHz mono."""
    argv = [find_ffmpeg(), "-v", "error", "-i", str(path), "-ac", "1", "-ar", str(RATE),
            "-f", "s16le", "-"]  # fmt: skip
    raw = subprocess.run(argv, check=True, capture_output=True).stdout  # noqa: S603
    return np.frombuffer(raw, np.int16)


def spoken_parts(samples: NDArray[np.int16]) -> list[tuple[int, int]]:
    """Return the sample ranges between pauses, by loudness."""
    frames = samples[: len(samples) // _FRAME * _FRAME].reshape(-1, _FRAME).astype(np.float64)
    loudness = np.sqrt(np.mean(frames**2, axis=1))
    loud = np.flatnonzero(loudness > _QUIET * np.quantile(loudness, 0.95))
    pause = round(_LONGEST_PAUSE_SECONDS * RATE / _FRAME)
    groups = np.split(loud, np.flatnonzero(np.diff(loud) > pause) + 1)
    parts = [(int(group[0]) * _FRAME, (int(group[-1]) + 1) * _FRAME) for group in groups]
    return [(start, end) for start, end in parts if end - start > RATE // 4]


def _alone(turn: Turn, others: list[Turn]) -> list[tuple[float, float]]:
    """Return where a turn is not talked over."""
    pieces = [(turn.start, min(turn.end, AMI_ANNOTATED_SECONDS))]
    for other in others:
        cut = [[(start, min(end, other.start)), (max(start, other.end), end)]
               for start, end in pieces]  # fmt: skip
        pieces = [piece for pair in cut for piece in pair if piece[1] - piece[0] >= 0.5]
    return pieces
