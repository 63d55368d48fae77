"""The values that flow through the pipeline. All frozen; all times float seconds.

Intervals are `[start, end)`. Within a chunk's result they count from the chunk's start; in a
`Transcript` from the start of the recording.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True)
class Word:
    """A word with its place in time.

    Attributes:
        word: The text, punctuation included, without surrounding space.
        start: When it begins.
        end: When it ends; never before `start`.
        confidence: Mean probability of its tokens, 0 to 1.
    """

    word: str
    start: float
    end: float
    confidence: float


@dataclass(frozen=True)
class Segment:
    """A phrase as the engine delimited it.

    Attributes:
        start: Start of the first word.
        end: End of the last word.
        text: The words joined.
        words: In order of time, never overlapping.
        confidence: Mean probability of the tokens, 0 to 1.
        suspect: Whether it looks invented: see `worker.merger`.
    """

    start: float
    end: float
    text: str
    words: tuple[Word, ...]
    confidence: float
    suspect: bool = False

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Return the segment that `dataclasses.asdict` made these values of."""
        return cls(**{**values, "words": tuple(Word(**word) for word in values["words"])})


@dataclass(frozen=True)
class Chunk:
    """A stretch of a recording that is transcribed as one.

    Attributes:
        index: Place among the recording's chunks, from 0.
        start: Start of the audio that the engine hears.
        end: Its end.
        core_start: Start of the stretch whose words count.
        core_end: Its end. The cores of all chunks tile `[0, duration)`.
        has_speech: False where the audio is too quiet to hold any; such a chunk is not transcribed.
        skips: Long silences within `[start, end)` that the engine is not given, in order.
    """

    index: int
    start: float
    end: float
    core_start: float
    core_end: float
    has_speech: bool = True
    skips: tuple[tuple[float, float], ...] = ()

    @property
    def pieces(self) -> list[tuple[float, float]]:
        """What the engine hears, one after the other: `[start, end)` without the skips."""
        edges = [self.start, *(edge for skip in self.skips for edge in skip), self.end]
        return list(zip(edges[::2], edges[1::2], strict=True))

    @property
    def heard_seconds(self) -> float:
        """How much audio that is; at most 30 s."""
        return sum(end - start for start, end in self.pieces)

    def to_recording_time(self, heard: float) -> float:
        """Return where in the recording the engine was after `heard` seconds of its audio."""
        for start, end in self.pieces:
            if heard <= end - start:
                return start + max(heard, 0.0)
            heard -= end - start
        return self.end


@dataclass(frozen=True)
class ChunkTranscript:
    """What the engine heard in one chunk.

    Attributes:
        index: The chunk's.
        language: Two-letter code; what was asked for, or what the engine detected.
        segments: In order; times count the audio that the engine heard.
        covered_seconds: How much of the chunk's speech lies within a segment.
        speech_seconds: How much speech there is, by its loudness.
    """

    index: int
    language: str
    segments: tuple[Segment, ...]
    covered_seconds: float = 0.0
    speech_seconds: float = 0.0


@dataclass(frozen=True)
class Transcript:
    """A whole recording's transcript.

    Attributes:
        language: The language of most of the speech.
        duration: Seconds of audio.
        segments: In order; times from the start of the recording.
        coverage: Share of the speech, by its loudness, that lies within a segment, 0 to 1.
        warnings: Sentences for the reader: what may be wrong with this transcript.
    """

    language: str
    duration: float
    segments: tuple[Segment, ...]
    coverage: float = 1.0
    warnings: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """All segments' text, joined."""
        return " ".join(segment.text for segment in self.segments)

    @property
    def word_count(self) -> int:
        """How many words there are."""
        return sum(len(segment.words) for segment in self.segments)
