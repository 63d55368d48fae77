"""The demo pipeline on conversations whose voices it never heard in training."""

import subprocess
import wave
from pathlib import Path

import pytest

from tests.accuracy import diarization_error
from worker.diarizer import DiarizerOptions, PyannoteDiarizer, SpeakerHints, step_for
from worker.media import find_ffmpeg

ROOT = Path(__file__).resolve().parents[2]
CONVERSATIONS = sorted((ROOT / "tests" / "data" / "conversations").glob("*.opus"))


@pytest.fixture(scope="module")
def diarizer():
    return PyannoteDiarizer(DiarizerOptions(str(ROOT / "models" / "demo" / "diarization")))


def read_truth(path):
    fields = [line.split() for line in path.with_suffix(".rttm").read_text().splitlines()]
    return [
        {"start": float(f[3]), "end": float(f[3]) + float(f[4]), "speaker": f[7]} for f in fields
    ]


@pytest.fixture(scope="module", params=CONVERSATIONS, ids=lambda path: path.stem)
def conversation(request, tmp_path_factory):
    """A conversation as WAV, its truth, and its duration."""
    wav = tmp_path_factory.mktemp("conversations") / "audio.wav"
    argv = [find_ffmpeg(), "-v", "error", "-i", str(request.param), "-ar", "16000", str(wav)]
    subprocess.run(argv, check=True, timeout=60)
    with wave.open(str(wav)) as file:
        seconds = file.getnframes() / file.getframerate()
    return wav, read_truth(request.param), seconds


def test_there_are_five():
    assert len(CONVERSATIONS) == 5


@pytest.mark.parametrize("told", [False, True], ids=["number-unknown", "number-given"])
def test_unseen_voices_are_told_apart(diarizer, conversation, told):
    wav, truth, seconds = conversation
    people = {turn["speaker"] for turn in truth}
    hints = SpeakerHints(exactly=len(people)) if told else SpeakerHints()
    found = diarizer.diarize(wav, hints, lambda _share: None)
    assert diarization_error(truth, found.turns, seconds=seconds) < 0.20


@pytest.mark.parametrize(
    ("hints", "fewest", "most"),
    [(SpeakerHints(at_most=1), 1, 1), (SpeakerHints(at_least=2, at_most=2), 2, 2)],
    ids=["at-most", "between"],
)
def test_bounds_are_kept_to(diarizer, conversation, hints, fewest, most):
    wav, _, _ = conversation
    found = diarizer.diarize(wav, hints, lambda _share: None)
    assert fewest <= len({turn.speaker for turn in found.turns}) <= most


@pytest.mark.parametrize(
    ("hours", "step"), [(0.001, 0.25), (1, 0.25), (5, 0.25), (10, 0.3), (100, 1.0)]
)
def test_long_recordings_take_larger_steps(hours, step):
    assert step_for(hours * 3600, 0.25, 10.0) == pytest.approx(step)
