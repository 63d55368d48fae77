"""Whisper's English tokens: the byte pairs of GPT-2 for text, and the special ones after them.

Encoding text needs the package `tiktoken` and the file `gpt2.tiktoken` of the package
`openai-whisper`. Only training uses them; README.md says how to get both.
"""

from __future__ import annotations

import importlib
from base64 import b64decode
from pathlib import Path
from typing import Any

# The special tokens of an English model (whisper/tokenizer.py of openai-whisper).
END_OF_TEXT = 50256
START_OF_TRANSCRIPT = 50257
NO_SPEECH = 50361
FIRST_TIMESTAMP = 50363  # 0.00 s; the last one is 30.00 s
TIMESTAMP_COUNT = 1501
TIMESTAMP_SECONDS = 0.02
VOCABULARY_SIZE = FIRST_TIMESTAMP + TIMESTAMP_COUNT

VOCABULARY_FILE = "gpt2.tiktoken"

# How GPT-2 splits a text before its pieces are encoded (src/encoder.py of gpt-2).
_PIECES = r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""


class Tokenizer:
    """Turns text into tokens."""

    def __init__(self, assets: Path) -> None:
        """Read the vocabulary.

        Args:
            assets: The folder `whisper/assets` of openai-whisper.

        Raises:
            SystemExit: tiktoken is not installed.
        """
        lines = (assets / VOCABULARY_FILE).read_bytes().splitlines()
        ranks = {b64decode(token): int(rank) for token, rank in map(bytes.split, lines)}
        self._encoding = _import_tiktoken().Encoding(
            "gpt2", pat_str=_PIECES, mergeable_ranks=ranks, special_tokens={}
        )

    def encode(self, sentence: str) -> list[int]:
        """Return a sentence's tokens, with the space before it that Whisper expects."""
        tokens: list[int] = self._encoding.encode(" " + sentence)
        return tokens


def timestamp(frame: int) -> int:
    """Return the token for a moment in a window, counted in `TIMESTAMP_SECONDS`."""
    return FIRST_TIMESTAMP + frame


def _import_tiktoken() -> Any:
    """Import tiktoken, which the project itself does not depend on, or say how to get it."""
    try:
        return importlib.import_module("tiktoken")
    except ImportError as error:
        raise SystemExit("tiktoken is missing: pip install tiktoken") from error
