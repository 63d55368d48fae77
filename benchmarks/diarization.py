"""What our step, batches and shared windows gain over pyannote's defaults, and what they cost.

`python benchmarks/diarization.py --minutes 5` runs each setting over the same recording in a
process of its own and prints its time against pyannote's defaults, its peak memory and its
diarization error rate. `--minutes 60 --only ours` measures a whole hour.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
import wave
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from core.logger import configure_logging
from worker.diarizer import DiarizerOptions, PyannoteDiarizer, SpeakerHints
from worker.pipeline_source import load_pipeline
from worker.transcript import SpeakerTurn

SAMPLE = ROOT / "samples" / "meeting.wav"
PIPELINE = str(ROOT / "models" / "demo" / "diarization")


@dataclass(frozen=True)
class Setting:
    """A way to run the pipeline: with our shared windows, or pyannote's own embedding pass."""

    step: float
    batch_size: int
    shared: bool


SETTINGS = {
    "pyannote's defaults": Setting(0.1, 1, shared=False),
    "batches of 8": Setting(0.1, 8, shared=False),
    "shared windows": Setting(0.1, 8, shared=True),
    "ours": Setting(0.25, 8, shared=True),
    "step 0.5": Setting(0.5, 8, shared=True),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--pipeline", default=PIPELINE)
    parser.add_argument("--only", choices=SETTINGS, action="append")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(Path(arguments.child), arguments.only[0], arguments.pipeline, arguments.threads)
        return
    with tempfile.TemporaryDirectory() as folder:
        recording = Path(folder) / "long.wav"
        turns = repeat_sample(recording, arguments.minutes * 60)
        compare(recording, turns, arguments)


def compare(recording: Path, turns: list[SpeakerTurn], arguments: argparse.Namespace) -> None:
    """Print one line for each setting."""
    baseline = None
    for name in arguments.only or SETTINGS:
        found = run_child(recording, name, arguments)
        baseline = baseline or found["seconds"]
        error = error_rate(turns, [SpeakerTurn(**turn) for turn in found["turns"]])
        print(
            f"{name:<20} {found['seconds'] / arguments.minutes:6.2f} s a minute of audio, "
            f"{found['seconds'] / baseline:.2f} of the first, peak {found['megabytes']:.0f} MB, "
            f"error rate {100 * error:.1f} %",
            flush=True,
        )


def run_child(recording: Path, name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Run one setting in a fresh process, whose peak memory is then its own."""
    argv = [sys.executable, __file__, "--child", str(recording), "--only", name]
    argv += ["--pipeline", arguments.pipeline]
    if arguments.threads:
        argv += ["--threads", str(arguments.threads)]
    ran = subprocess.run(argv, check=True, capture_output=True, text=True)  # noqa: S603
    found: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return found


def child(recording: Path, name: str, pipeline: str, threads: int | None) -> None:
    """Diarize once and print time, peak memory and turns; loading does not count."""
    configure_logging("ERROR")
    run = prepare(SETTINGS[name], pipeline, threads)
    started = time.perf_counter()
    turns = run(recording)
    seconds = time.perf_counter() - started
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    values = [{"start": t.start, "end": t.end, "speaker": t.speaker} for t in turns]
    print(json.dumps({"seconds": seconds, "megabytes": megabytes, "turns": values}))


def prepare(
    setting: Setting, pipeline: str, threads: int | None
) -> Callable[[Path], list[SpeakerTurn]]:
    """Load the pipeline for a setting; return what diarizes a WAV."""
    options = DiarizerOptions(
        pipeline, device="cpu", step=setting.step, batch_size=setting.batch_size, threads=threads
    )
    diarizer = PyannoteDiarizer(options)
    if not setting.shared:
        plain = load_pipeline(pipeline, None)
        plain.segmentation_batch_size = plain.embedding_batch_size = setting.batch_size
        diarizer._pipeline = plain
    return lambda wav: list(diarizer.diarize(wav, SpeakerHints(), lambda _share: None).turns)


def repeat_sample(path: Path, seconds: float) -> list[SpeakerTurn]:
    """Write the sample over and over until it is long enough; return its true turns."""
    truth = json.loads(SAMPLE.with_suffix(".json").read_text())
    turns = []
    with wave.open(str(SAMPLE)) as source, wave.open(str(path), "wb") as out:
        out.setparams(source.getparams())
        frames = source.readframes(source.getnframes())
        for number in range(max(1, round(seconds / truth["duration"]))):
            out.writeframes(frames)
            at = number * source.getnframes() / source.getframerate()
            turns += [
                SpeakerTurn(at + turn["start"], at + turn["end"], turn["speaker"])
                for turn in truth["turns"]
            ]
    return turns


def error_rate(truth: list[SpeakerTurn], found: list[SpeakerTurn]) -> float:
    """Return the diarization error rate (pyannote.metrics, collar 0.25 s)."""
    from pyannote.core import Annotation, Segment
    from pyannote.metrics.diarization import DiarizationErrorRate

    annotations = []
    for turns in (truth, found):
        annotation = Annotation()
        for number, turn in enumerate(turns):
            annotation[Segment(turn.start, turn.end), number] = turn.speaker
        annotations.append(annotation)
    return float(DiarizationErrorRate(collar=0.25)(*annotations))


if __name__ == "__main__":
    main()
