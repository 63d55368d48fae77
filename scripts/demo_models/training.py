"""What the training loops share: a budget of time, a learning rate that follows it, a log line."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import torch

_LOG_EVERY = 50
_SMOOTHING = 0.97


def train(
    parameters: list[torch.nn.Parameter],
    loss_of_batch: Callable[[float], torch.Tensor],
    *,
    minutes: float,
    learning_rate: float,
    on_checkpoint: Callable[[], None],
    checkpoint_every: int = 500,
    warm_up_steps: int = 150,
    final_rate: float = 0.005,
    betas: tuple[float, float] = (0.9, 0.999),
    details: Callable[[], str] = str,
) -> None:
    """Minimise a loss with AdamW for a given time; the rate rises shortly, then falls as a cosine.

    Args:
        parameters: What is learned.
        loss_of_batch: Makes the next batch and returns its loss; given the share of the time that
            has passed, 0 to 1.
        minutes: How long to train.
        learning_rate: The highest.
        on_checkpoint: Called now and then, and at the end.
        checkpoint_every: Steps.
        warm_up_steps: In which the rate rises.
        final_rate: What is left of the rate at the end, a share of the highest.
        betas: AdamW's, for the running means of the gradient and of its square.
        details: What else to log; nothing by default.
    """
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, betas=betas, weight_decay=0.01)
    started, step, average = time.monotonic(), 0, None
    while (spent := (time.monotonic() - started) / 60 / minutes) < 1:
        warm = min(1.0, (step + 1) / warm_up_steps)
        for group in optimizer.param_groups:
            cosine = 0.5 * (1 + math.cos(math.pi * spent))
            group["lr"] = learning_rate * warm * (cosine + final_rate)
        loss = loss_of_batch(spent)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        step += 1
        value = loss.item()
        average = value if average is None else _SMOOTHING * average + (1 - _SMOOTHING) * value
        if step % _LOG_EVERY == 0:
            line = f"step {step}, {spent * minutes:.1f} min, loss {average:.4f} {details()}"
            print(line.rstrip(), flush=True)
        if step % checkpoint_every == 0:
            on_checkpoint()
    on_checkpoint()
