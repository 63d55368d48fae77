"""One pass of the embedding network for all speakers of a window: faster, and the same result."""

import wave
from pathlib import Path

import numpy as np
import pytest

from worker.pipeline_source import load_pipeline
from worker.window_sharing import share_windows

ROOT = Path(__file__).resolve().parents[2]
PIPELINE = str(ROOT / "models" / "demo" / "diarization")


@pytest.fixture(scope="module")
def file():
    """Thirty seconds of the sample with twelve of silence in the middle."""
    import torch

    with wave.open(str(ROOT / "samples" / "meeting.wav")) as source:
        samples = np.frombuffer(source.readframes(30 * 16000), "<i2").astype(np.float32) / 32768
    silence = np.zeros(12 * 16000, np.float32)
    waveform = np.concatenate([samples[: 15 * 16000], silence, samples[15 * 16000 :]])
    return {"waveform": torch.from_numpy(waveform)[None], "sample_rate": 16000, "uri": "file"}


@pytest.fixture(scope="module")
def pipelines():
    """The same pipeline twice: as pyannote made it, and with shared windows."""
    plain, shared = load_pipeline(PIPELINE, None), load_pipeline(PIPELINE, None)
    share_windows(shared)
    for pipeline in (plain, shared):
        pipeline.embedding_batch_size = pipeline.segmentation_batch_size = 4
    return plain, shared


@pytest.mark.parametrize("exclude_overlap", [True, False])
def test_embeddings_are_those_of_pyannote(file, pipelines, exclude_overlap):
    plain, shared = pipelines
    segmentations = plain.get_segmentations(file)
    expected = plain.get_embeddings(file, segmentations, exclude_overlap=exclude_overlap)
    found = shared.get_embeddings(file, segmentations, exclude_overlap=exclude_overlap)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


def test_turns_are_those_of_pyannote(file, pipelines):
    plain, shared = (pipeline(dict(file)) for pipeline in pipelines)
    assert shared.speaker_diarization.labels()
    assert str(shared.speaker_diarization) == str(plain.speaker_diarization)
    assert str(shared.exclusive_speaker_diarization) == str(plain.exclusive_speaker_diarization)


def test_the_sound_of_each_window_goes_through_the_network_once(file, pipelines):
    _, shared = pipelines
    rows = []
    model = shared._embedding.model_
    handle = model.register_forward_pre_hook(lambda _module, inputs: rows.append(len(inputs[0])))
    try:
        segmentations = shared.get_segmentations(file)
        shared.get_embeddings(file, segmentations)
    finally:
        handle.remove()
    spoken = int(segmentations.data.any(axis=(1, 2)).sum())
    assert 0 < spoken < len(segmentations.data), "the silence is of no use here"
    assert sum(rows) == spoken + 1  # one more for all silence
