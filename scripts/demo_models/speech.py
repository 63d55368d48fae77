"""Training the speech model, a small Whisper, on synthetic speech alone.

A decoder learns nothing from sound that its encoder does not tell apart, and an encoder learns
little through a decoder that can guess. So the encoder gets its own lessons, in letters. First it
sees single sentences, and learns roughly which letter it hears when, as if those of a sentence were
spread evenly over it. CTC (Graves et al. 2006) then puts the letters in their places, while the
decoder learns to write. Longer windows follow.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from random import Random

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demo_models.speech_windows import LETTER_CLASSES, Batch, Windows
from demo_models.tokens import (
    END_OF_TEXT,
    NO_SPEECH,
    START_OF_TRANSCRIPT,
    TIMESTAMP_COUNT,
    timestamp,
)
from demo_models.training import train
from demo_models.whisper_model import Dimensions, LogMel, Whisper

# What share of the time has passed when each of these ends or begins.
_ROUGH_LETTERS_UNTIL = 0.1
_SINGLE_SENTENCES_UNTIL = 0.2
_WHOLE_WINDOWS_FROM = 0.5

_LEARNING_RATE = 1.2e-3
_WARM_UP_STEPS = 200
_LABEL_SMOOTHING = 0.03
_VALIDATION_WINDOWS = 16
_CHECKPOINT_EVERY = 250
_SMOOTHING = 0.97


@dataclass(frozen=True)
class Losses:
    """What is minimised, and how often the right token came first.

    Attributes:
        text: Cross entropy of the decoder's tokens, nats per token.
        letters: CTC of the encoder, nats per letter.
        rough: Cross entropy of the evenly spread letters, nats per frame.
        correct: Share of the tokens, each given all before it.
    """

    text: Tensor
    letters: Tensor
    rough: Tensor
    correct: Tensor

    def total(self, spent: float) -> Tensor:
        """Return the loss to minimise when a share `spent` of the time has passed."""
        if spent < _ROUGH_LETTERS_UNTIL:
            return self.text + 0.3 * self.letters + 2 * self.rough
        return self.text + (1.5 if spent < _SINGLE_SENTENCES_UNTIL else 0.6) * self.letters


class Learner(nn.Module):
    """The model, with what only its training needs.

    That is a head that names the letter of a frame, and one embedding that all the tokens share
    that occur nowhere: 19 of 20. It keeps them improbable, and the quantized file compresses well.
    """

    class_of_token: Tensor
    used_tokens: Tensor

    def __init__(self, used_tokens: list[int], log_mel: LogMel) -> None:
        super().__init__()
        self.dimensions = Dimensions()
        self.model = Whisper(self.dimensions)
        self._log_mel = log_mel
        self.letter_head = nn.Linear(self.dimensions.n_audio_state, LETTER_CLASSES)
        self.unused_row = nn.Parameter(torch.zeros(self.dimensions.n_text_state))
        used = torch.tensor(used_tokens)
        class_of_token = torch.full((self.dimensions.n_vocab,), -1)
        class_of_token[used] = torch.arange(len(used))
        self.register_buffer("used_tokens", used)
        self.register_buffer("class_of_token", class_of_token)

    def losses(self, batch: Batch) -> Losses:
        """Return what the model gets wrong."""
        bands = self._log_mel(batch.samples)
        with torch.autocast("cpu", torch.bfloat16):
            sound = self.model.encoder(bands)
            letters = self.letter_head(sound).float()
            logits = self._logits(batch.tokens[:, :-1], sound)
        real = batch.real[:, 1:]
        logits, wanted = logits[real], self.class_of_token[batch.tokens[:, 1:]][real]
        frames = min(letters.shape[1], batch.frame_letters.shape[1])
        return Losses(
            text=F.cross_entropy(logits, wanted, label_smoothing=_LABEL_SMOOTHING),
            letters=_ctc(letters, batch),
            rough=F.cross_entropy(
                letters[:, :frames].flatten(0, 1), batch.frame_letters[:, :frames].flatten()
            ),
            correct=(logits.argmax(-1) == wanted).float().mean(),
        )

    def _logits(self, tokens: Tensor, sound: Tensor) -> Tensor:
        """Return (batch, tokens, used tokens and one for the rest together)."""
        rows = self.model.decoder.token_embedding.weight[self.used_tokens]
        rows = torch.cat([rows, self.unused_row[None]])
        logits = (self.model.decoder(tokens, sound) @ rows.T).float()
        unused = self.dimensions.n_vocab - len(self.used_tokens)
        rest = logits[..., -1:] + math.log(unused)  # the sum of as many equal probabilities
        return torch.cat([logits[..., :-1], rest], dim=-1)

    def save(self, path: Path) -> None:
        """Write a checkpoint in half precision, laid out as OpenAI's are."""
        weights = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}
        embedding = self.unused_row.detach().repeat(self.dimensions.n_vocab, 1)
        name = "decoder.token_embedding.weight"
        embedding[self.used_tokens] = weights[name][self.used_tokens]
        weights[name] = embedding
        content = {
            "dims": asdict(self.dimensions),
            "model_state_dict": {name: tensor.half() for name, tensor in weights.items()},
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(content, path)


class RunningMeans:
    """The losses of the last batches, for the log."""

    def __init__(self) -> None:
        self._means: dict[str, float] = {}

    def add(self, losses: Losses) -> None:
        """Count a batch in."""
        for name, value in _values(losses).items():
            before = self._means.get(name, value)
            self._means[name] = _SMOOTHING * before + (1 - _SMOOTHING) * value

    def __str__(self) -> str:
        return _line(self._means)


def train_speech(
    windows: Windows, validation: Windows, log_mel: LogMel, out: Path, minutes: float
) -> None:
    """Train for a given time and write a checkpoint.

    Args:
        windows: What to learn from.
        validation: Others, to report the losses on.
        log_mel: The front end.
        out: The checkpoint's path.
        minutes: How long; the model of the repository took 95.
    """
    torch.manual_seed(0)
    chance = Random(0)
    learner = Learner(used_tokens(windows, validation), log_mel)
    checks = {seconds: validation.batch(_VALIDATION_WINDOWS, seconds) for seconds in (10, 30)}
    means = RunningMeans()
    print(
        f"{sum(p.numel() for p in learner.parameters()):,} weights, "
        f"{len(learner.used_tokens)} tokens used"
    )

    def loss_of_batch(spent: float) -> Tensor:
        losses = learner.losses(windows.batch(*batch_shape(spent, chance)))
        means.add(losses)
        return losses.total(spent)

    def save_and_check() -> None:
        learner.save(out)
        for seconds, batch in checks.items():
            with torch.no_grad():
                line = _line(_values(learner.losses(batch)))
            print(f"  validation, {seconds} s: {line}", flush=True)

    train(
        list(learner.parameters()),
        loss_of_batch,
        minutes=minutes,
        learning_rate=_LEARNING_RATE,
        on_checkpoint=save_and_check,
        checkpoint_every=_CHECKPOINT_EVERY,
        warm_up_steps=_WARM_UP_STEPS,
        final_rate=0.01,
        betas=(0.9, 0.98),
        details=lambda: str(means),
    )


def batch_shape(spent: float, chance: Random) -> tuple[int, float]:
    """Return how many windows of how many seconds when a share `spent` of the time has passed."""
    if spent < _SINGLE_SENTENCES_UNTIL:
        return 48, 4.5
    if spent > _WHOLE_WINDOWS_FROM and chance.random() < 0.5 + (spent - _WHOLE_WINDOWS_FROM):
        return 8, 30.0
    return 24, 10.0


def used_tokens(*windows: Windows) -> list[int]:
    """Return all tokens that a transcript can have: those of the texts, and the special ones."""
    tokens = {START_OF_TRANSCRIPT, END_OF_TEXT, NO_SPEECH}
    tokens.update(timestamp(frame) for frame in range(TIMESTAMP_COUNT))
    return sorted(tokens.union(*(some.text_tokens() for some in windows)))


def _ctc(scores: Tensor, batch: Batch) -> Tensor:
    """Return CTC's loss of (windows, frames, classes), nats per letter."""
    windows, frames, _ = scores.shape
    loss = F.ctc_loss(
        scores.log_softmax(-1).transpose(0, 1),
        batch.letters,
        torch.full((windows,), frames),
        batch.letter_counts,
        zero_infinity=True,
        reduction="sum",
    )
    return loss / max(1, len(batch.letters))


def _values(losses: Losses) -> dict[str, float]:
    return {part.name: getattr(losses, part.name).item() for part in fields(losses)}


def _line(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in values.items())
