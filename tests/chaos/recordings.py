"""Recordings of noise, and what an undisturbed run hears in them."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core.config import PROJECT_ROOT
from services.engines import BUILT_WHISPER
from tests.conftest import write_wav
from worker.media import find_ffmpeg
from worker.processor import process_stt_job
from worker.transcriber import TranscribeOptions, WhisperTranscriber

RATE = 16000
# A long pause comes every 28 s: there, a recording is cut.
SECONDS_PER_CHUNK = 28
BURSTS_PER_CHUNK = 9


@dataclass(frozen=True)
class Recording:
    """A file and the words in it, in order: for the stand-in, one for each chunk."""

    path: Path
    words: tuple[str, ...]

    @property
    def text(self) -> str:
        return " ".join(self.words)


class Recordings:
    """Makes recordings, no two alike."""

    def __init__(self, folder: Path, engine: Path) -> None:
        self._folder = folder
        self._engine = engine
        self._seeds = itertools.count()

    def make(self, chunks: int) -> Recording:
        """Return a new recording of so many chunks; up to four are a short one."""
        seed = next(self._seeds)
        path = self._folder / f"noise-{seed}.wav"
        write_wav(path, bursts(seed, chunks))
        recording = self._heard(path, self._engine)
        assert len(recording.words) == chunks, "the calm run heard another number of chunks"
        return recording

    def heard_by_real_engine(self, path: Path) -> Recording:
        """Return a recording with what whisper-cli hears in it."""
        return self._heard(path, BUILT_WHISPER)

    def _heard(self, path: Path, engine: Path) -> Recording:
        """Run every stage in this process, undisturbed."""
        model = PROJECT_ROOT / "models" / "demo" / "ggml-demo-en.bin"
        transcriber = WhisperTranscriber(str(engine), model, threads=1)
        options = TranscribeOptions("en")
        job = process_stt_job(path, transcriber, ffmpeg=find_ffmpeg(), options=options)
        return Recording(path, tuple(asyncio.run(job)["text"].split()))


def bursts(seed: int, chunks: int) -> np.ndarray:
    """Loud noise with pauses in it, which is speech to a cutter."""
    noise = np.random.default_rng(seed)
    samples = noise.integers(-20, 20, chunks * SECONDS_PER_CHUNK * RATE, dtype=np.int16)
    for chunk in samples.reshape(chunks, -1):
        for at in range(0, BURSTS_PER_CHUNK * 3 * RATE, 3 * RATE):
            loud = chunk[at : at + int(2.4 * RATE)]
            loud += noise.integers(-6000, 6000, loud.size, dtype=np.int16)
    return samples
