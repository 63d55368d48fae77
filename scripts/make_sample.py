#!/usr/bin/env python3
"""Speak a written conversation into a recording whose every word time is known.

The script file casts the speakers and lists one sentence a line::

    # a comment
    @voice Laura flite slt
    @voice Henry espeak en+m3 rate=150 pitch=38
    Laura: Good morning everyone.
    @pause 4
    Henry: The new release is ready.

``PREFIX.wav`` (16 kHz, mono, 16 bit) and ``PREFIX.json`` (who says what and when)
come out. Word times are the synthesizers' own, so they can serve as the truth that
transcripts are measured against. The same script, seed and synthesizer versions
give the same bytes.

Needs the shared libraries of espeak-ng and flite: ``apt-get install espeak-ng flite``.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import wave
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from synthesis import ENGINES
from synthesis.clip import RATE, Clip, SampleError, Samples, Synthesizer, trim
from synthesis.script import Line, Script, parse_script

NOISE_RMS = 20.0
LEAD_IN = 0.5  # seconds before the first and after the last sentence
PAUSE_SAME_SPEAKER = (0.3, 0.6)
PAUSE_NEXT_SPEAKER = (0.6, 1.2)


def silence(seconds: float) -> Samples:
    """Return silence, to the nearest sample."""
    return np.zeros(round(seconds * RATE))


def perform(script: Script, seed: int) -> tuple[Samples, list[dict[str, Any]]]:
    """Speak the whole script.

    Args:
        script: What to say and in which voices.
        seed: Decides the pauses and the background noise.

    Returns:
        The recording, and its turns in the form that the JSON file holds.
    """
    chance = random.Random(seed)
    cast: dict[str, Synthesizer] = {
        name: ENGINES[spec.engine](spec) for name, spec in script.voices.items()
    }
    parts = [silence(LEAD_IN)]
    turns: list[dict[str, Any]] = []
    for index, line in enumerate(script.lines):
        if index:
            same = script.lines[index - 1].speaker == line.speaker
            pause = chance.uniform(*(PAUSE_SAME_SPEAKER if same else PAUSE_NEXT_SPEAKER))
            parts.append(silence(line.pause_before or pause))
        at = sum(map(len, parts)) / RATE
        clip = trim(cast[line.speaker].speak(line.text))
        parts.append(clip.samples)
        turns.append(describe_turn(line, clip, at))
    recording = np.concatenate([*parts, silence(LEAD_IN)])
    noise = np.random.default_rng(seed).standard_normal(len(recording)) * NOISE_RMS
    return recording + noise, turns


def describe_turn(line: Line, clip: Clip, at: float) -> dict[str, Any]:
    """Return the JSON entry of a sentence that starts `at` seconds into the recording."""
    end = at + clip.duration
    return {
        "speaker": line.speaker,
        "start": round(at, 3),
        "end": round(end, 3),
        "text": line.text,
        "words": [
            {"word": w.word, "start": round(w.start, 3), "end": round(w.end, 3)}
            for w in (word.moved(at, end) for word in clip.words)
        ],
    }


def write_wav(path: Path, samples: Samples) -> None:
    """Write 16 kHz mono 16-bit PCM."""
    data = np.clip(np.round(samples), -32768, 32767).astype("<i2").tobytes()
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(data)


def write_json(path: Path, script: Script, samples: Samples, turns: list[dict[str, Any]]) -> None:
    """Write who says what and when."""
    content = {
        "sample_rate": RATE,
        "duration": round(len(samples) / RATE, 3),
        "voices": {name: asdict(spec) for name, spec in script.voices.items()},
        "turns": turns,
    }
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def main() -> int:
    """Run the command line and return its exit code."""
    parser = argparse.ArgumentParser(description="Speak a written conversation.")
    parser.add_argument("--script", type=Path, default=Path("samples/meeting.txt"))
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("samples/meeting"),
        metavar="PREFIX",
        help="writes PREFIX.wav and PREFIX.json",
    )
    parser.add_argument("--seed", type=int, default=7, help="of the pauses and the noise")
    options = parser.parse_args()
    try:
        script = parse_script(options.script.read_text(encoding="utf-8"))
        samples, turns = perform(script, options.seed)
        write_wav(options.out.with_suffix(".wav"), samples)
        write_json(options.out.with_suffix(".json"), script, samples, turns)
    except (SampleError, OSError) as error:
        print(f"make_sample: {error}", file=sys.stderr)
        return 1
    print(f"{options.out}.wav: {len(samples) / RATE:.1f} s, {len(turns)} sentences")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
