"""Putting chunk transcripts together into one. Pure.

Words are moved to the recording's time, kept only in the chunk whose core holds their middle (so
that what two chunks heard of a cut is not doubled), and segments that look invented are marked.
"""

from __future__ import annotations

import itertools
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from core.logger import logged_operation
from worker.errors import IncompleteResults
from worker.transcript import Chunk, ChunkTranscript, Gap, Segment, Transcript, Word

# Whisper's own sign of a loop: text that zlib shrinks by more than this repeats itself
# (openai/whisper `transcribe.py`, compression_ratio_threshold). Short text never gets there.
_COMPRESSION_RATIO_LIMIT = 2.4
# Mean token probability below which a segment is more likely wrong than right: exp(-1.0), from
# Whisper's logprob_threshold of -1.0.
_CONFIDENCE_LIMIT = 0.37
# Nobody says more than this for long: the fastest speech measured is about 11 words a second.
_MAX_WORDS_PER_SECOND = 12.0


class ResultMerger:
    """Merges the chunk transcripts of one recording."""

    def merge_chunks(
        self, chunks: Sequence[Chunk], results: Sequence[ChunkTranscript], duration: float
    ) -> Transcript:
        """Return the transcript of a recording.

        Args:
            chunks: All of the recording's chunks, in order.
            results: One for each chunk with speech, in the same order.
            duration: Seconds of the recording; no word ends after it.

        Raises:
            IncompleteResults: A chunk or a result is missing, doubled or out of place.
        """
        with logged_operation("merge chunks", chunks=len(chunks)) as outcome:
            spoken = [chunk for chunk in chunks if chunk.has_speech]
            self._check(chunks, spoken, results, duration)
            segments: list[Segment] = []
            gaps: list[Gap] = []
            for chunk, result in zip(spoken, results, strict=True):
                if result.failure is not None:
                    gaps.append(Gap(chunk.core_start, chunk.core_end, result.failure))
                after = segments[-1].end if segments else 0.0
                segments += self.merge_chunk(chunk, result, after=after, duration=duration)
            outcome.update(segments=len(segments))
            language = _main_language(spoken, results)
            covered = sum(result.covered_seconds for result in results)
            speech = sum(result.speech_seconds for result in results)
            coverage = round(covered / speech, 4) if speech else 1.0
            return Transcript(
                language,
                duration,
                tuple(map(_judge, segments)),
                coverage,
                gaps=tuple(gaps),
                language_confidence=_confidence(language, spoken, results),
            )

    def merge_chunk(
        self, chunk: Chunk, result: ChunkTranscript, *, after: float, duration: float
    ) -> list[Segment]:
        """Return what one chunk adds to the transcript; later chunks change nothing of it.

        Args:
            chunk: The chunk.
            result: What was heard in it.
            after: End of the last segment of the chunks before it; 0 where there is none.
            duration: Seconds of the recording; no word ends after it.
        """
        moved = self.add_timestamps(result.segments, chunk)
        return _in_order(self.remove_duplicates(moved, chunk), after, duration)

    def add_timestamps(self, segments: Sequence[Segment], chunk: Chunk) -> list[Segment]:
        """Move times that count from a chunk's start to the recording's."""
        return [
            segment.with_words([_moved(word, chunk) for word in segment.words])
            for segment in segments
        ]

    def remove_duplicates(self, segments: Sequence[Segment], chunk: Chunk) -> list[Segment]:
        """Keep the words whose middle lies in the chunk's core; its neighbours keep the others."""
        kept = []
        for segment in segments:
            words = [w for w in segment.words if _in_core((w.start + w.end) / 2, chunk)]
            if words:
                whole = len(words) == len(segment.words)
                kept.append(segment if whole else segment.with_words(words))
        return kept

    def _check(
        self,
        chunks: Sequence[Chunk],
        spoken: Sequence[Chunk],
        results: Sequence[ChunkTranscript],
        duration: float,
    ) -> None:
        if [chunk.index for chunk in chunks] != list(range(len(chunks))):
            raise IncompleteResults("Chunks are missing or out of order.")
        if not chunks or (chunks[0].core_start, chunks[-1].core_end) != (0, duration):
            raise IncompleteResults("The chunks do not span the recording.")
        for left, right in itertools.pairwise(chunks):
            if left.core_end != right.core_start:
                raise IncompleteResults(f"Chunks {left.index} and {right.index} do not meet.")
        expected = [chunk.index for chunk in spoken]
        found = [result.index for result in results]
        if found != expected:
            missing = sorted(set(expected) - set(found))
            problem = f"chunks {missing} have none" if missing else "they are out of order"
            raise IncompleteResults(f"Chunk results do not fit the chunks: {problem}.")


def _moved(word: Word, chunk: Chunk) -> Word:
    # By its middle: at the seam of a skipped silence, a word's edge may lie on the other side.
    half = (word.end - word.start) / 2
    middle = chunk.to_recording_time((word.start + word.end) / 2)
    piece = next((p for p in chunk.pieces if p[0] <= middle <= p[1]), (chunk.start, chunk.end))
    start, end = max(piece[0], middle - half), min(piece[1], middle + half)
    return replace(word, start=round(start, 3), end=round(end, 3))


def _in_core(middle: float, chunk: Chunk) -> bool:
    """Whether a word is this chunk's: always so where a chunk hears nothing beyond its core."""
    not_before = middle >= chunk.core_start or chunk.start >= chunk.core_start
    not_after = middle < chunk.core_end or chunk.end <= chunk.core_end
    return not_before and not_after


def _in_order(segments: Sequence[Segment], after: float, duration: float) -> list[Segment]:
    """Clamp every word after the one before it and inside the recording."""
    at = after
    ordered = []
    for segment in segments:
        words = []
        for word in segment.words:
            start = min(max(word.start, at), duration)
            end = min(max(word.end, start), duration)
            words.append(replace(word, start=start, end=end))
            at = end
        ordered.append(segment.with_words(words))
    return ordered


def _judge(segment: Segment) -> Segment:
    """Mark a segment that looks invented: looping, improbable, or faster than anybody speaks."""
    text = segment.text.encode()
    loops = len(text) / len(zlib.compress(text)) > _COMPRESSION_RATIO_LIMIT
    improbable = segment.confidence < _CONFIDENCE_LIMIT
    seconds = max(segment.end - segment.start, 0.1)
    hurried = len(segment.words) > max(3.0, seconds * _MAX_WORDS_PER_SECOND)
    return replace(segment, suspect=loops or improbable or hurried)


def _main_language(chunks: Sequence[Chunk], results: Sequence[ChunkTranscript]) -> str:
    """Return the language of most of the audio: one window alone may mislead."""
    seconds: Counter[str] = Counter()
    for chunk, result in zip(chunks, results, strict=True):
        if result.failure is None:
            seconds[result.language] += int(chunk.heard_seconds * 1000)
    return seconds.most_common(1)[0][0] if seconds else "en"


def _confidence(
    language: str, chunks: Sequence[Chunk], results: Sequence[ChunkTranscript]
) -> float | None:
    """Return how sure the engine was where it heard this language; None where it was told."""
    heard = [
        (chunk.heard_seconds, result.language_confidence)
        for chunk, result in zip(chunks, results, strict=True)
        if result.language == language and result.language_confidence is not None
    ]
    seconds = sum(weight for weight, _ in heard)
    return round(sum(weight * sure for weight, sure in heard) / seconds, 4) if seconds else None
