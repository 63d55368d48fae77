"""From embeddings to speakers: the PLDA that pyannote's VBx needs, and the thresholds.

VBx (Landini et al. 2022) compares embeddings in the space of a two-covariance PLDA, after a linear
discriminant projection; both are fitted here to the voices of the training corpora.
"""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import scipy.linalg
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from demo_models.conversations import Cast, add_noise
from synthesis.clip import RATE

LDA_DIMENSION = 64
_CROPS_PER_SPEAKER = 10
_CROP_SECONDS = (1.5, 5.0)

Array = NDArray[np.float64]


def embed_speakers(model: Any, casts: list[Cast], seed: int = 5) -> tuple[Array, Array]:
    """Return (crops, dimension) embeddings and the (crops,) number of each one's speaker."""
    chance = Random(seed)
    embeddings, labels = [], []
    speakers = [(cast, speaker) for cast in casts for speaker in cast.speakers]
    model.eval()
    for number, (cast, speaker) in enumerate(tqdm(speakers, desc="embedding", disable=None)):
        for _ in range(_CROPS_PER_SPEAKER):
            length = round(chance.uniform(*_CROP_SECONDS) * RATE)
            speech = np.concatenate([cast.clip(speaker, chance) for _ in range(4)])[:length]
            if chance.random() < 0.5:
                speech = add_noise(speech, chance)
            with torch.inference_mode():
                embeddings.append(model(torch.from_numpy(speech)[None, None]).numpy()[0])
            labels.append(number)
    return np.array(embeddings, np.float64), np.array(labels)


def fit_plda(embeddings: Array, labels: Array, out: Path) -> None:
    """Fit projection and PLDA and write them as `pyannote.audio.core.plda.PLDA` reads them."""
    mean1 = embeddings.mean(axis=0)
    centred = _to_sphere(embeddings - mean1)
    within, between = _covariances(centred, labels)
    # The directions in which speakers differ most, measured by how they vary themselves.
    _, directions = scipy.linalg.eigh(between, within)
    lda = directions[:, ::-1][:, :LDA_DIMENSION]
    projected = centred @ lda
    mean2 = projected.mean(axis=0)
    projected = _to_sphere(projected - mean2)
    mu = projected.mean(axis=0)
    within, between = _covariances(projected - mu, labels)
    psi, vectors = scipy.linalg.eigh(between, within)
    out.mkdir(parents=True, exist_ok=True)
    np.savez(out / "xvec_transform.npz", mean1=mean1, mean2=mean2, lda=lda)
    np.savez(out / "plda.npz", mu=mu, tr=vectors.T, psi=np.maximum(psi, 1e-6))


def _to_sphere(vectors: Array) -> Array:
    """Scale vectors to the length that a standard normal one has on average."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: Array = np.sqrt(vectors.shape[1]) * vectors / lengths
    return scaled


def _covariances(vectors: Array, labels: Array) -> tuple[Array, Array]:
    """Return the covariance of vectors about their speaker's mean, and of those means."""
    means = np.array([vectors[labels == label].mean(axis=0) for label in np.unique(labels)])
    deviations = vectors - means[np.unique(labels, return_inverse=True)[1]]
    ridge = 1e-4 * np.eye(vectors.shape[1])
    return deviations.T @ deviations / len(vectors) + ridge, np.cov(means.T) + ridge
