"""How well a transcript fits the truth: words, their times, their speakers, and speaker turns."""

import itertools
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import jiwer

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from pyannote.core import Annotation, Segment, Timeline
    from pyannote.metrics.diarization import DiarizationErrorRate


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
    pairs = list(aligned_words(truth, heard))
    near = sum(
        all(abs(true[edge] - guess[edge]) < 0.5 for edge in ("start", "end"))
        for true, guess in pairs
    )
    rate = word_error_rate(*(" ".join(w["word"] for w in words) for words in (truth, heard)))
    return Accuracy(rate, near / max(len(pairs), 1))


def aligned_words(truth: list[dict], heard: list[dict]) -> Iterator[tuple[dict, dict]]:
    """Pair each true word with the one heard for it; words missed or made up are left out."""
    heard = [word for word in heard if plain(word["word"])]
    aligned = jiwer.process_words(
        " ".join(plain(word["word"]) for word in truth),
        " ".join(plain(word["word"]) for word in heard),
    )
    for piece in aligned.alignments[0]:
        if piece.type in ("equal", "substitute"):
            yield from zip(
                truth[piece.ref_start_idx : piece.ref_end_idx],
                heard[piece.hyp_start_idx : piece.hyp_end_idx],
                strict=True,
            )


def word_speaker_accuracy(turns: list[dict], heard: list[dict]) -> float:
    """Return the share of aligned words with the right speaker, under the best naming.

    Args:
        turns: The truth: dicts with `speaker` and `words`.
        heard: Words with a `speaker`, which is an id of the transcript's own.
    """
    truth = [word | {"speaker": turn["speaker"]} for turn in turns for word in turn["words"]]
    pairs = [(true["speaker"], guess["speaker"]) for true, guess in aligned_words(truth, heard)]
    people = sorted({person for person, _ in pairs})
    ids = sorted({guess for _, guess in pairs if guess is not None})
    ids += [None] * max(0, len(people) - len(ids))
    best = max(
        sum(naming.get(person) == guess and guess is not None for person, guess in pairs)
        for order in itertools.permutations(ids, len(people))
        for naming in [dict(zip(people, order, strict=True))]
    )
    return best / len(pairs)


def diarization_error(turns: list[dict], found, *, seconds: float, collar: float = 0.25) -> float:
    """Return the diarization error rate of turns against the truth's, up to `seconds`."""
    reference, hypothesis = Annotation(), Annotation()
    for number, turn in enumerate(turns):
        reference[Segment(turn["start"], turn["end"]), number] = turn["speaker"]
    for number, turn in enumerate(found):
        hypothesis[Segment(turn.start, turn.end), number] = turn.speaker
    whole = Timeline([Segment(0, seconds)])
    return DiarizationErrorRate(collar=collar)(reference, hypothesis, uem=whole)
