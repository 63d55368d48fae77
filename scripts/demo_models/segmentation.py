"""Training the segmentation: who of up to three speakers talks, in each 17 ms of ten seconds.

The architecture is pyannote's PyanNet (SincNet, LSTM), its output the powerset of three speakers
of whom two may talk at once (Plaquet and Bredin 2023). Which speaker is called first does not
matter: each window's truth is permuted to fit the output best.
"""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from demo_models.checkpoint import save_checkpoint
from demo_models.conversations import Cast, Manner, Samples, Turn, converse
from demo_models.training import train
from synthesis.clip import RATE
from worker.pyannote_import import import_pyannote

WINDOW_SECONDS = 10.0
SPEAKERS, AT_ONCE = 3, 2

_BATCH = 24
_LEARNING_RATE = 1.5e-3
_SPEAKERS_IN_WINDOW = ([0, 1, 2, 3], [0.03, 0.27, 0.4, 0.3])
_WARP = (0.88, 1.14)

Meeting = tuple[Samples, list[Turn]]
Labels = NDArray[np.float32]


class Windows:
    """Makes up windows of conversation, and cuts others from real meetings."""

    def __init__(
        self,
        synthetic: Cast,
        real: Cast | None,
        meetings: list[Meeting],
        seed: int,
        frame_times: NDArray[np.float64],
    ) -> None:
        """Keep the material.

        Args:
            synthetic: Speakers for most of the windows.
            real: Speakers for a fifth of them.
            meetings: Annotated recordings, for another tenth.
            seed: Decides every window.
            frame_times: Middle of each of the model's frames, seconds.
        """
        self._chance = Random(seed)
        self._synthetic, self._real, self._meetings = synthetic, real, meetings
        self._frame_times = frame_times

    def batch(self, count: int = _BATCH) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (count, 1, samples) waveforms and (count, frames, SPEAKERS) activity."""
        windows = [self._window() for _ in range(count)]
        waveforms = torch.from_numpy(np.stack([samples for samples, _ in windows]))[:, None]
        return waveforms, torch.from_numpy(np.stack([labels for _, labels in windows]))

    def _window(self) -> tuple[Samples, Labels]:
        kind = self._chance.random()
        if self._meetings and kind < 0.1:
            return self._cut(*self._chance.choice(self._meetings))
        cast = self._real if self._real is not None and kind < 0.3 else self._synthetic
        (count,) = self._chance.choices(*_SPEAKERS_IN_WINDOW)
        if count == 0:
            silence = np.zeros(round(WINDOW_SECONDS * RATE), np.float32)
            hiss = np.random.default_rng(self._chance.getrandbits(32)).standard_normal(len(silence))
            level = 10 ** self._chance.uniform(-5, -2)
            return (silence + hiss * level).astype(np.float32), self._labels([], 0.0)
        speakers = self._chance.sample(cast.speakers, count)
        manner = Manner(
            overlap=self._chance.choice([0.0, 0.1, 0.3]),
            same_speaker=self._chance.choice([0.2, 0.5]),
            mean_pause=self._chance.choice([0.25, 0.5, 0.9]),
        )
        before = self._chance.choice([0.0, self._chance.uniform(0, 8)])
        seconds = before + WINDOW_SECONDS
        samples, turns = converse(cast, speakers, seconds, self._chance, manner, _WARP)
        first = round(before * RATE)
        window = samples[first : first + round(WINDOW_SECONDS * RATE)]
        return window, self._labels(turns, before)

    def _cut(self, samples: Samples, turns: list[Turn]) -> tuple[Samples, Labels]:
        start = self._chance.uniform(0, len(samples) / RATE - WINDOW_SECONDS - 0.01)
        first = round(start * RATE)
        window = samples[first : first + round(WINDOW_SECONDS * RATE)]
        gain = np.float32(10 ** (self._chance.uniform(-6, 6) / 20))
        return window * gain, self._labels(turns, start)

    def _labels(self, turns: list[Turn], offset: float) -> Labels:
        """Return who is active in each frame; the longest-speaking if there are too many."""
        times = self._frame_times + offset
        active = {
            who: np.any([(times >= t.start) & (times < t.end) for t in turns if t.speaker == who],
                        axis=0)
            for who in {turn.speaker for turn in turns}
        }  # fmt: skip
        longest = sorted(active.values(), key=lambda frames: -int(frames.sum()))[:SPEAKERS]
        labels = np.zeros((len(times), SPEAKERS), np.float32)
        for place, frames in enumerate(longest):
            labels[:, place] = frames
        return labels


def train_segmentation(windows: Windows, model: Any, out: Path, minutes: float) -> None:
    """Train for a given time and write a checkpoint that pyannote loads."""
    from pyannote.audio.utils.permutation import permutate
    from pyannote.audio.utils.powerset import Powerset

    powerset = Powerset(SPEAKERS, AT_ONCE)
    # The filter bank stays the mel scale that it begins as: its gradient is half of all the work.
    model.sincnet.wav_norm1d.requires_grad_(False)
    model.sincnet.conv1d[0].requires_grad_(False)

    def loss_of_batch(_spent: float) -> torch.Tensor:
        waveforms, truth = windows.batch()
        with torch.autocast("cpu", torch.bfloat16):
            scores = model(waveforms)
        scores = scores.float()  # log probabilities, (batch, frames, classes)
        permuted, _ = permutate(powerset.to_multilabel(scores), truth)
        target = powerset.to_powerset(permuted.float()).argmax(dim=-1)
        return torch.nn.functional.nll_loss(scores.flatten(0, 1), target.flatten())

    print(f"{sum(p.numel() for p in model.parameters()):,} weights")
    train(
        [weights for weights in model.parameters() if weights.requires_grad],
        loss_of_batch,
        minutes=minutes,
        learning_rate=_LEARNING_RATE,
        on_checkpoint=lambda: save_checkpoint(model, out),
        checkpoint_every=200,
    )


def new_model() -> Any:
    """Return the untrained model with its specifications."""
    import_pyannote()
    from pyannote.audio.core.task import Problem, Resolution, Specifications
    from pyannote.audio.models.segmentation import PyanNet

    model: Any = PyanNet()
    model.specifications = Specifications(
        problem=Problem.MONO_LABEL_CLASSIFICATION,
        resolution=Resolution.FRAME,
        duration=WINDOW_SECONDS,
        min_duration=None,
        warm_up=(0.0, 0.0),
        classes=[f"speaker {number}" for number in range(1, SPEAKERS + 1)],
        powerset_max_classes=AT_ONCE,
        permutation_invariant=True,
    )
    model.build()
    return model


def frame_times(model: Any) -> NDArray[np.float64]:
    """Return the middle of each of the model's frames in a window, seconds."""
    frames = model.num_frames(round(WINDOW_SECONDS * RATE))
    field = model.receptive_field
    middles: NDArray[np.float64] = field.start + field.duration / 2 + np.arange(frames) * field.step
    return middles
