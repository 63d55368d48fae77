"""Whisper's architecture in PyTorch, with OpenAI's names for every tensor, and its front end.

Radford et al. 2022; the names are those of whisper/model.py of openai-whisper, by which
whisper.cpp's converter and loader know the tensors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demo_models.tokens import VOCABULARY_SIZE

MEL_FILTERS_FILE = "mel_filters.npz"
# An encoder frame, of which there are 50 a second, is two hops long.
FFT_SAMPLES, HOP_SAMPLES = 400, 160
FRAME_SAMPLES = 2 * HOP_SAMPLES


@dataclass(frozen=True)
class Dimensions:
    """The sizes that a checkpoint states, under OpenAI's names; here those of the demo model.

    It is half as wide as OpenAI's smallest, and learns a small vocabulary in an hour and a half.
    """

    n_mels: int = 80
    n_audio_ctx: int = 1500
    n_audio_state: int = 192
    n_audio_head: int = 3
    n_audio_layer: int = 4
    n_vocab: int = VOCABULARY_SIZE
    n_text_ctx: int = 448
    n_text_state: int = 192
    n_text_head: int = 3
    n_text_layer: int = 4


class LogMel:
    """Whisper's front end: 80 mel bands, logarithmic, every 10 ms."""

    def __init__(self, assets: Path, bands: int = Dimensions.n_mels) -> None:
        """Read the mel filters from the folder `whisper/assets` of openai-whisper."""
        with np.load(assets / MEL_FILTERS_FILE) as filters:
            self._filters = torch.from_numpy(filters[f"mel_{bands}"])
        self._window = torch.hann_window(FFT_SAMPLES)

    def __call__(self, samples: Tensor) -> Tensor:
        """Return (batch, bands, hops) of (batch, samples), about -1 to 1.5.

        What is 80 dB below a window's loudest band is cut off there.
        """
        spectrum = torch.stft(
            samples, FFT_SAMPLES, HOP_SAMPLES, window=self._window, return_complex=True
        )
        power = spectrum[..., :-1].abs() ** 2
        bands = (self._filters @ power).clamp(min=1e-10).log10()
        bands = torch.maximum(bands, bands.amax((1, 2), keepdim=True) - 8)
        return (bands + 4) / 4


class Attention(nn.Module):
    """Attention with several heads, to itself or to another sequence."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self._heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, source: Tensor | None = None, *, causal: bool = False) -> Tensor:
        """Return (batch, length, width) for x of the same shape.

        Args:
            x: What asks.
            source: What is looked at, (batch, its length, width); by default x.
            causal: Whether each place sees only itself and what came before.
        """
        source = x if source is None else source
        mixed = F.scaled_dot_product_attention(
            self._split(self.query(x)),
            self._split(self.key(source)),
            self._split(self.value(source)),
            is_causal=causal,
        )
        out: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return out

    def _split(self, x: Tensor) -> Tensor:
        """Return (batch, heads, length, width of a head)."""
        return x.view(*x.shape[:2], self._heads, -1).transpose(1, 2)


class Block(nn.Module):
    """A layer of the encoder, or of the decoder: that one also attends to the sound."""

    def __init__(self, width: int, heads: int, *, decoder: bool = False) -> None:
        super().__init__()
        self.attn, self.attn_ln = Attention(width, heads), nn.LayerNorm(width)
        self.cross_attn = Attention(width, heads) if decoder else None
        self.cross_attn_ln = nn.LayerNorm(width) if decoder else None
        # ggml approximates GELU by tanh, so the model learns with that.
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(approximate="tanh"), nn.Linear(4 * width, width)
        )
        self.mlp_ln = nn.LayerNorm(width)

    def forward(self, x: Tensor, sound: Tensor | None = None) -> Tensor:
        """Return x, (batch, length, width), transformed; `sound` is for the decoder."""
        x = x + self.attn(self.attn_ln(x), causal=self.cross_attn is not None)
        if self.cross_attn is not None and self.cross_attn_ln is not None:
            x = x + self.cross_attn(self.cross_attn_ln(x), sound)
        out: Tensor = x + self.mlp(self.mlp_ln(x))
        return out


class Encoder(nn.Module):
    """From mel bands to one vector for every 20 ms."""

    positional_embedding: Tensor

    def __init__(self, dimensions: Dimensions) -> None:
        super().__init__()
        width = dimensions.n_audio_state
        self.conv1 = nn.Conv1d(dimensions.n_mels, width, 3, padding=1)
        self.conv2 = nn.Conv1d(width, width, 3, stride=2, padding=1)
        # So that the sound does not drown under the positions at the start.
        for convolution in (self.conv1, self.conv2):
            convolution.weight.data *= 3
        self.register_buffer("positional_embedding", _sinusoids(dimensions.n_audio_ctx, width))
        self.blocks = nn.ModuleList(
            Block(width, dimensions.n_audio_head) for _ in range(dimensions.n_audio_layer)
        )
        self.ln_post = nn.LayerNorm(width)

    def forward(self, bands: Tensor) -> Tensor:
        """Return (batch, frames, width) of (batch, bands, hops); a frame is two hops."""
        x = F.gelu(self.conv1(bands), approximate="tanh")
        x = F.gelu(self.conv2(x), approximate="tanh").transpose(1, 2)
        x = x + self.positional_embedding[: x.shape[1]]
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.ln_post(x)
        return out


class Decoder(nn.Module):
    """From the tokens so far, and the sound, to a vector that says which token is next.

    That token's row in `token_embedding` is the most like the vector.
    """

    def __init__(self, dimensions: Dimensions) -> None:
        super().__init__()
        width = dimensions.n_text_state
        self.token_embedding = nn.Embedding(dimensions.n_vocab, width)
        nn.init.normal_(self.token_embedding.weight, std=0.05)
        self.positional_embedding = nn.Parameter(torch.randn(dimensions.n_text_ctx, width) * 0.02)
        self.blocks = nn.ModuleList(
            Block(width, dimensions.n_text_head, decoder=True)
            for _ in range(dimensions.n_text_layer)
        )
        self.ln = nn.LayerNorm(width)

    def forward(self, tokens: Tensor, sound: Tensor) -> Tensor:
        """Return (batch, tokens, width) of (batch, tokens) and (batch, frames, width)."""
        x = self.token_embedding(tokens) + self.positional_embedding[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x, sound)
        out: Tensor = self.ln(x)
        return out


class Whisper(nn.Module):
    """The whole model."""

    def __init__(self, dimensions: Dimensions) -> None:
        super().__init__()
        self.encoder = Encoder(dimensions)
        self.decoder = Decoder(dimensions)


def _sinusoids(length: int, width: int) -> Tensor:
    """Return (length, width) of sines and cosines, of wavelengths up to 10,000 places."""
    half = width // 2
    rates = torch.exp(-math.log(10_000) / (half - 1) * torch.arange(half))
    angles = torch.arange(length)[:, None] * rates[None]
    return torch.cat([angles.sin(), angles.cos()], dim=1)
