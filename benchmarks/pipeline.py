"""The pipeline against whisper-cli alone: same recording, same model, same threads, same run.

`python benchmarks/pipeline.py --minutes 20` prints ratios; absolute times say little, for machines
are shared. Both are run several times in turn, and medians are compared.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import wave
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from core.config import load_settings
from core.logger import configure_logging
from services.engines import find_whisper
from worker.chunking import AudioChunker
from worker.media import find_ffmpeg
from worker.processor import process_stt_job
from worker.transcriber import WhisperTranscriber

T = TypeVar("T")

SAMPLE = ROOT / "samples" / "meeting.wav"
MODEL = ROOT / "models" / "demo" / "ggml-demo-en.bin"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    configure_logging("ERROR")
    with tempfile.TemporaryDirectory() as folder:
        recording = repeat_sample(Path(folder) / "long.wav", arguments.minutes * 60)
        for beam_size in (5, 1):
            compare(recording, arguments.threads, beam_size, arguments.rounds)
        print(f"\nsilence scan: {scan_speed(recording):,.0f} times real time")
        print(f"peak memory of this process: {peak_megabytes():.0f} MB")


def repeat_sample(path: Path, seconds: float) -> Path:
    """Write the sample over and over until it is long enough."""
    with wave.open(str(SAMPLE)) as source, wave.open(str(path), "wb") as out:
        out.setparams(source.getparams())
        frames = source.readframes(source.getnframes())
        for _ in range(round(seconds * source.getframerate() / source.getnframes()) or 1):
            out.writeframes(frames)
    return path


def compare(recording: Path, threads: int, beam_size: int, rounds: int) -> None:
    """Print how the two fare in turn: wall time and how many words come out."""
    alone: list[float] = []
    pipeline: list[float] = []
    for _ in range(rounds):
        seconds, words_alone = timed(lambda: run_alone(recording, threads, beam_size))
        alone.append(seconds)
        seconds, words_pipeline = timed(lambda: run_pipeline(recording, threads, beam_size))
        pipeline.append(seconds)
    ratio = statistics.median(pipeline) / statistics.median(alone)
    print(
        f"beam {beam_size}, {threads} threads: whisper-cli {statistics.median(alone):.1f} s "
        f"({words_alone} words), pipeline {statistics.median(pipeline):.1f} s "
        f"({words_pipeline} words), ratio {ratio:.2f}"
    )


def run_alone(recording: Path, threads: int, beam_size: int) -> int:
    """Run whisper-cli over the whole file; return the number of words."""
    out = recording.with_suffix("")
    argv = [
        find_whisper(load_settings()), "-m", str(MODEL), "-t", str(threads), "-mc", "0",
        "-bs", str(beam_size), "-bo", str(beam_size), "-ojf", "-of", str(out), "-np",
        str(recording),
    ]  # fmt: skip
    subprocess.run(argv, check=True, capture_output=True)  # noqa: S603
    entries = json.loads(out.with_suffix(".json").read_bytes())["transcription"]
    return sum(len(entry["text"].split()) for entry in entries)


def run_pipeline(recording: Path, threads: int, beam_size: int) -> int:
    """Run every stage in this process; return the number of words."""
    transcriber = WhisperTranscriber(
        find_whisper(load_settings()), MODEL, threads=threads, beam_size=beam_size
    )
    transcript = asyncio.run(process_stt_job(recording, transcriber, ffmpeg=find_ffmpeg()))
    return len(transcript["text"].split())


def scan_speed(recording: Path) -> float:
    """Return how many times faster than real time the chunker is."""
    seconds, chunks = timed(lambda: AudioChunker().chunk_by_silence(recording))
    return chunks[-1].core_end / seconds


def peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def timed(work: Callable[[], T]) -> tuple[float, T]:
    started = time.perf_counter()
    value = work()
    return time.perf_counter() - started, value


if __name__ == "__main__":
    main()
