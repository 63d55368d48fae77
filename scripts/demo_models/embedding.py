"""Training the speaker embedding: an x-vector that tells voices apart.

The architecture is pyannote's XVectorMFCC (Snyder et al. 2018) with frames of 20 ms. It learns to
name the speaker of a few seconds of sound among thousands, with an additive angular margin (Deng
et al. 2019); a voice played at another speed counts as another speaker.
"""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from demo_models.checkpoint import load_weights, save_checkpoint
from demo_models.conversations import Cast, Samples, add_echo, add_noise, play_faster
from demo_models.training import train
from synthesis.clip import RATE
from worker.pyannote_import import import_pyannote

DIMENSION = 128
# Frames of 20 ms halve the work of 10 ms; windows of 40 ms resolve a voice's pitch.
MFCC = {"n_mfcc": 40, "melkwargs": {"n_fft": 640, "hop_length": 320, "n_mels": 64}}

SYNTHETIC_SPEEDS = (0.9, 1.0, 1.1)
REAL_SPEEDS = (0.82, 0.88, 0.94, 1.0, 1.06, 1.13, 1.2)

_BATCH = 64
_SHORTEST_SECONDS, _LONGEST_SECONDS = 1.2, 4.0
_MARGIN, _SCALE = 0.2, 30.0
_LEARNING_RATE = 2e-3
_FITTING_BATCHES = 60


class AngularMargin(torch.nn.Module):
    """Cross entropy over cosines, the right one made harder by a margin (ArcFace)."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.centres = torch.nn.Parameter(torch.randn(classes, DIMENSION) * 0.01)

    @torch.no_grad()
    def fit(self, model: Any, batches: Batches) -> None:
        """Put each class's centre where a trained model has its embeddings, for a start."""
        for _ in range(_FITTING_BATCHES):
            waveforms, labels = batches.next()
            self.centres.index_add_(0, labels, F.normalize(model(waveforms)))

    def forward(self, embeddings: torch.Tensor, labels: torch.Tensor, margin: float) -> Any:
        """Return the loss of (batch, DIMENSION) embeddings with (batch,) class indexes."""
        cosines = F.linear(F.normalize(embeddings), F.normalize(self.centres))
        angles = torch.acos(cosines.clamp(-0.9999, 0.9999))
        marked = F.one_hot(labels, cosines.shape[1]).bool()
        return F.cross_entropy(
            _SCALE * torch.where(marked, torch.cos(angles + margin), cosines), labels
        )


class Batches:
    """Makes batches of voices, a given share of them real."""

    def __init__(self, synthetic: Cast, real: Cast | None, seed: int, real_share: float) -> None:
        self._chance = Random(seed)
        self._casts = [synthetic] if real is None else [synthetic, real]
        self._real_share = real_share if real is not None else 0.0
        classes = [(0, who, speed) for who in synthetic.speakers for speed in SYNTHETIC_SPEEDS]
        self._synthetic_count = len(classes)
        if real is not None:
            classes += [(1, who, speed) for who in real.speakers for speed in REAL_SPEEDS]
        self._classes = classes

    @property
    def class_count(self) -> int:
        """How many speakers are told apart."""
        return len(self._classes)

    def next(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (batch, 1, samples) waveforms and (batch,) class indexes."""
        seconds = self._chance.uniform(_SHORTEST_SECONDS, _LONGEST_SECONDS)
        length = round(seconds * RATE)
        waveforms, labels = [], []
        for _ in range(_BATCH):
            real = self._chance.random() < self._real_share
            first, last = (
                (self._synthetic_count, len(self._classes)) if real else (0, self._synthetic_count)
            )
            label = self._chance.randrange(first, last)
            waveforms.append(self._crop(label, length))
            labels.append(label)
        return torch.from_numpy(np.stack(waveforms))[:, None], torch.tensor(labels)

    def _crop(self, label: int, length: int) -> Samples:
        cast, speaker, speed = self._classes[label]
        chance = self._chance
        speech = np.zeros(0, np.float32)
        while len(speech) < length + RATE // 2:
            pause = np.zeros(round(chance.uniform(0, 0.3) * RATE), np.float32)
            clip = play_faster(self._casts[cast].clip(speaker, chance), speed)
            speech = np.concatenate([speech, clip, pause])
        first = chance.randrange(len(speech) - length)
        crop = speech[first : first + length]
        if chance.random() < 0.3:
            crop = add_echo(crop, chance)
        if chance.random() < 0.8:
            crop = add_noise(crop, chance)
        return np.ascontiguousarray(crop * np.float32(10 ** (chance.uniform(-15, 6) / 20)))


def train_embedding(batches: Batches, out: Path, minutes: float, *, resume: bool) -> None:
    """Train for a given time and write a checkpoint that pyannote loads.

    Args:
        batches: The voices.
        out: Folder of the checkpoint.
        minutes: How long to train.
        resume: Go on with the weights that are there.
    """
    model = new_model()
    head = AngularMargin(batches.class_count)
    if resume:
        load_weights(model, out)
        head.fit(model, batches)
    print(f"{batches.class_count} speakers, {sum(p.numel() for p in model.parameters()):,} weights")

    def loss_of_batch(spent: float) -> torch.Tensor:
        waveforms, labels = batches.next()
        with torch.autocast("cpu", torch.bfloat16):
            embeddings = model(waveforms)
        margin = _MARGIN * min(1.0, spent / 0.3)  # none at first, or nothing is learned
        loss: torch.Tensor = head(embeddings.float(), labels, margin)
        return loss

    train(
        [*model.parameters(), *head.parameters()],
        loss_of_batch,
        minutes=minutes,
        learning_rate=_LEARNING_RATE,
        on_checkpoint=lambda: save_checkpoint(model, out),
    )


def new_model() -> Any:
    """Return the untrained model with its specifications."""
    import_pyannote()
    from pyannote.audio.core.task import Problem, Resolution, Specifications
    from pyannote.audio.models.embedding import XVectorMFCC

    model = XVectorMFCC(mfcc=MFCC, dimension=DIMENSION)
    model.specifications = Specifications(
        problem=Problem.REPRESENTATION,
        resolution=Resolution.CHUNK,
        duration=_LONGEST_SECONDS,
        min_duration=_SHORTEST_SECONDS,
    )
    return model
