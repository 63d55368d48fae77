"""Importing pyannote.audio: on this machine's torch, without telemetry, and only when asked."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

PROBE = """
import json, sys
from core.logger import configure_logging
from worker.pyannote_import import import_pyannote

configure_logging("ERROR")
import worker.diarizer, worker.diarizer_process, worker.processor
early = "torch" in sys.modules
import_pyannote()
import torch, torchaudio
from pyannote.audio.telemetry.metrics import is_metrics_enabled
import torchaudio.compliance.kaldi as kaldi

print(json.dumps({
    "early": early,
    "cuda": torch.version.cuda,
    "extension": torchaudio._extension._IS_TORCHAUDIO_EXT_AVAILABLE,
    "telemetry": is_metrics_enabled(),
    "fbank": list(kaldi.fbank(torch.zeros(1, 16000)).shape),
}))
"""


@pytest.fixture(scope="module")
def found():
    ran = subprocess.run(
        [sys.executable, "-c", PROBE],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
        env=os.environ | {"PYANNOTE_METRICS_ENABLED": "1"},
    )
    assert ran.returncode == 0, ran.stderr
    assert "torchcodec" not in ran.stderr, "a warning that worries people for nothing"
    return json.loads(ran.stdout)


def test_torch_is_imported_by_who_asks_for_it_alone(found):
    assert not found["early"]


def test_torchaudio_works_whatever_the_build_of_torch(found):
    assert found["fbank"][1] == 23
    if found["cuda"] is None:
        assert found["extension"] is False


def test_telemetry_is_off_even_where_the_environment_turns_it_on(found):
    assert found["telemetry"] is False
