"""How well a transcript fits the truth: word error rate and word times."""

import re
from dataclasses import dataclass

import jiwer


@dataclass(frozen=True)
class Accuracy:
    """Word error rate (0 to 1) and the share of aligned words timed within half a second."""

    word_error_rate: float
    timed_within_half_a_second: float


def plain(word: str) -> str:
    return re.sub(r"[^a-z0-9']", "", word.lower())


def word_error_rate(truth: str, heard: str) -> float:
    return jiwer.wer(
        " ".join(filter(None, map(plain, truth.split()))),
        " ".join(filter(None, map(plain, heard.split()))),
    )


def measure(truth: list[dict], heard: list[dict]) -> Accuracy:
    """Compare words (`word`, `start`, `end`) with the truth's, aligned by edit distance."""
    heard = [word for word in heard if plain(word["word"])]
    aligned = jiwer.process_words(
        " ".join(plain(word["word"]) for word in truth),
        " ".join(plain(word["word"]) for word in heard),
    )
    near = total = 0
    for piece in aligned.alignments[0]:
        if piece.type not in ("equal", "substitute"):
            continue
        true_words = truth[piece.ref_start_idx : piece.ref_end_idx]
        heard_words = heard[piece.hyp_start_idx : piece.hyp_end_idx]
        for true, guess in zip(true_words, heard_words, strict=True):
            total += 1
            near += all(abs(true[edge] - guess[edge]) < 0.5 for edge in ("start", "end"))
    return Accuracy(aligned.wer, near / max(total, 1))
