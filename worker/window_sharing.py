"""One pass of the embedding network for all speakers of a window.

pyannote runs it once for each (window, speaker) pair, over the same sound with another mask. The
mask only enters at the pooling: the layers before it, nearly all of the work, need not be repeated.
The result is the same to rounding; docs/benchmarks.md has what it gains.
"""

from __future__ import annotations

import math
import types
from collections.abc import Callable
from typing import Any

import numpy as np

_Hook = Callable[..., None]


def share_windows(pipeline: Any) -> None:
    """Make a pyannote `SpeakerDiarization` compute embeddings window by window.

    Left as it is where the embedding is not a pyannote model: others take no mask per speaker.
    """
    from pyannote.audio.pipelines.speaker_verification import (
        PyannoteAudioPretrainedSpeakerEmbedding,
    )

    if isinstance(pipeline._embedding, PyannoteAudioPretrainedSpeakerEmbedding):
        pipeline.get_embeddings = types.MethodType(_embeddings_by_window, pipeline)


def _embeddings_by_window(
    pipeline: Any,
    file: Any,
    binary_segmentations: Any,
    exclude_overlap: bool = False,
    hook: _Hook | None = None,
) -> np.ndarray[Any, Any]:
    """Return (windows, speakers, dimension) embeddings; stands in for pyannote's method.

    Args:
        pipeline: The pipeline.
        file: With the waveform.
        binary_segmentations: (windows, frames, speakers) of 0 and 1.
        exclude_overlap: Listen to each speaker where nobody else talks, if that is enough.
        hook: Told of the progress.
    """
    import torch

    activity = np.nan_to_num(binary_segmentations.data, nan=0.0).astype(np.float32)
    masks = _masks(pipeline, binary_segmentations, activity) if exclude_overlap else activity
    spoken = np.flatnonzero(activity.any(axis=(1, 2)))
    # Without a mask the pooling yields zeros whatever the sound: one embedding for all silence.
    silence = pipeline._embedding(
        torch.zeros(1, 1, pipeline._embedding.sample_rate), masks=torch.zeros(1, masks.shape[1])
    )
    embeddings = np.broadcast_to(silence, (*activity.shape[::2], silence.shape[-1])).copy()
    size = pipeline.embedding_batch_size
    for at in range(0, len(spoken), size):
        if hook is not None:
            hook("embeddings", None, total=len(spoken), completed=at)
        batch = spoken[at : at + size]
        embeddings[batch] = pipeline._embedding(
            _waveforms(pipeline, file, binary_segmentations.sliding_window, batch),
            masks=torch.from_numpy(masks[batch].transpose(0, 2, 1)),
        )
    return embeddings


def _masks(
    pipeline: Any, segmentations: Any, activity: np.ndarray[Any, Any]
) -> np.ndarray[Any, Any]:
    """Return where each speaker talks alone; where that is too short, where they talk at all."""
    alone = activity * (activity.sum(axis=2, keepdims=True) < 2)
    window_samples = segmentations.sliding_window.duration * pipeline._embedding.sample_rate
    least = math.ceil(activity.shape[1] * pipeline._embedding.min_num_samples / window_samples)
    return np.where(alone.sum(axis=1, keepdims=True) > least, alone, activity)


def _waveforms(pipeline: Any, file: Any, windows: Any, batch: np.ndarray[Any, Any]) -> Any:
    """Return (batch, 1, samples) sound of some windows; the last may be padded."""
    import torch

    return torch.stack(
        [pipeline._audio.crop(file, windows[int(index)], mode="pad")[0] for index in batch]
    )
