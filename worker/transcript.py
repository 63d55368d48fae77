"""The values that flow through the pipeline. All frozen; all times float seconds.

Intervals are `[start, end)`. Within a chunk's result they count from the chunk's start; in a
`Transcript` from the start of the recording.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self


@dataclass(frozen=True)
class Word:
    """A word with its place in time.

    Attributes:
        word: The text, punctuation included, without surrounding space.
        start: When it begins.
        end: When it ends; never before `start`.
        confidence: Mean probability of its tokens, 0 to 1.
        speaker: Who says it, a `Speaker.id`; None where that is not known.
    """

    word: str
    start: float
    end: float
    confidence: float
    speaker: str | None = None


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
        speaker: Who says all of its words, a `Speaker.id`; None where that is not known.
        overlap: Whether somebody else talks during it.
    """

    start: float
    end: float
    text: str
    words: tuple[Word, ...]
    confidence: float
    suspect: bool = False
    speaker: str | None = None
    overlap: bool = False

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Return the segment that `dataclasses.asdict` made these values of."""
        return cls(**{**values, "words": tuple(Word(**word) for word in values["words"])})

    def with_words(self, words: Sequence[Word]) -> Self:
        """Return this segment with other words: bounds, text and confidence match them.

        Args:
            words: At least one; joined as this segment's own are, with or without spaces.
        """
        unspaced = self.text == "".join(word.word for word in self.words)
        return replace(
            self,
            start=words[0].start,
            end=words[-1].end,
            text=("" if unspaced else " ").join(word.word for word in words),
            words=tuple(words),
            confidence=round(sum(word.confidence for word in words) / len(words), 4),
        )


@dataclass(frozen=True)
class SpeakerTurn:
    """A stretch in which one speaker talks."""

    start: float
    end: float
    speaker: str


@dataclass(frozen=True)
class VoiceMatch:
    """Who a speaker is, among the people whose voices were given.

    Attributes:
        speaker: What turns call them.
        name: Who they are; None for somebody else.
        similarity: Of their voice to that person's, else to the most alike one, -1 to 1; None where
            too little was heard to compare.
    """

    speaker: str
    name: str | None
    similarity: float | None


@dataclass(frozen=True)
class Diarization:
    """Who talks when in a recording; turns in order of start.

    Attributes:
        turns: Everything that each speaker says; turns of different speakers may overlap.
        exclusive: One speaker at a time: these never overlap.
        voices: One for each speaker, where known voices were looked for.
    """

    turns: tuple[SpeakerTurn, ...]
    exclusive: tuple[SpeakerTurn, ...]
    voices: tuple[VoiceMatch, ...] = ()

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Return the diarization that `dataclasses.asdict` made these values of."""
        return cls(
            turns=tuple(SpeakerTurn(**turn) for turn in values["turns"]),
            exclusive=tuple(SpeakerTurn(**turn) for turn in values["exclusive"]),
            voices=tuple(VoiceMatch(**match) for match in values.get("voices", ())),
        )


@dataclass(frozen=True)
class Speaker:
    """Somebody who talks in a recording.

    Attributes:
        id: What words, segments and turns call them.
        label: What readers see.
        speech_seconds: How long they talk.
        known: Whether they are one of the people whose voices were given; None where none were.
        similarity: How alike their voice is to that person's, else to the most alike one.
    """

    id: str
    label: str
    speech_seconds: float
    known: bool | None = None
    similarity: float | None = None


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
class Gap:
    """A stretch of a recording that could not be transcribed, and why."""

    start: float
    end: float
    reason: str


@dataclass(frozen=True)
class ChunkTranscript:
    """What the engine heard in one chunk.

    Attributes:
        index: The chunk's.
        language: Two-letter code; what was asked for, or what the engine detected.
        segments: In order; times count the audio that the engine heard.
        covered_seconds: How much of the chunk's speech lies within a segment.
        speech_seconds: How much speech there is, by its loudness.
        failure: Why nothing could be heard; None where the engine did its work.
        language_confidence: How sure the engine was of the language, 0 to 1; None where it was
            told, or could not choose.
    """

    index: int
    language: str
    segments: tuple[Segment, ...]
    covered_seconds: float = 0.0
    speech_seconds: float = 0.0
    failure: str | None = None
    language_confidence: float | None = None


@dataclass(frozen=True)
class Transcript:
    """A whole recording's transcript.

    Attributes:
        language: The language of most of the speech.
        duration: Seconds of audio.
        segments: In order; times from the start of the recording.
        coverage: Share of the speech, by its loudness, that lies within a segment, 0 to 1.
        warnings: Sentences for the reader: what may be wrong with this transcript.
        speakers: In order of their first turn; none where nobody asked who speaks.
        turns: Who talks when, in order of start; they may overlap.
        gaps: What could not be transcribed, in order.
        language_confidence: How sure the engine was of the language where it chose it, 0 to 1: the
            mean over the audio in that language. None where it was told.
    """

    language: str
    duration: float
    segments: tuple[Segment, ...]
    coverage: float = 1.0
    warnings: tuple[str, ...] = ()
    speakers: tuple[Speaker, ...] = ()
    turns: tuple[SpeakerTurn, ...] = ()
    gaps: tuple[Gap, ...] = ()
    language_confidence: float | None = None

    @property
    def text(self) -> str:
        """All segments' text, joined."""
        return " ".join(segment.text for segment in self.segments)

    @property
    def word_count(self) -> int:
        """How many words there are."""
        return sum(len(segment.words) for segment in self.segments)
