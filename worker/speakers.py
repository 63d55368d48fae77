"""Who says what: a diarization's turns laid over a transcript's words. Pure.

Each word takes the speaker of the turn that it overlaps most. Turns begin and end a word early or
late, and words are not timed to the frame, so speakers are then put right within each sentence.
Segments are split where the speaker changes.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, islice
from typing import TypeVar

from worker.transcript import (
    Diarization,
    Segment,
    Speaker,
    SpeakerTurn,
    Transcript,
    VoiceMatch,
    Word,
)

# A word within nobody's turn is the nearest speaker's up to here: about as far as times are off.
_NEAR_SECONDS = 0.5
# With no more of a pause than this, nobody takes over for a word and gives back again.
_FLIP_GAP_SECONDS = 0.5
# Long enough for somebody else to answer: what follows is a sentence of its own.
_PAUSE_SECONDS = 1.0
# Who says so much of a sentence says all of it but for errors: at least three words of four.
_CLEAR_MAJORITY = 0.75
# The edge of a turn is a word or two off; a longer run at a sentence's edge is somebody talking.
_EDGE_SECONDS = 1.0
# Turns that overlap for less are one speaker after the other, each timed roughly.
_OVERLAP_SECONDS = 0.25
# Latin, CJK, Arabic, Urdu and Devanagari, then whatever closes a quotation or a bracket.
_SENTENCE_END = re.compile(r"""[.?!…。．｡？！؟۔।॥]["'”’“‘»«›‹)\]}）］】」』》〉]*$""")  # noqa: RUF001

_Who = TypeVar("_Who", bound=Hashable)


def assign_speakers(transcript: Transcript, diarization: Diarization) -> Transcript:
    """Return the transcript with a speaker on each word and segment.

    No word is lost, moved or retimed. Speakers are numbered in the order in which they first talk.
    Where known voices were looked for, those who were found have their names, and the others are
    explicitly unknown.
    """
    turns = _inside(diarization.turns, transcript.duration)
    exclusive = _inside(diarization.exclusive, transcript.duration)
    order = dict.fromkeys(turn.speaker for turn in (*turns, *exclusive))
    ids = {name: f"SPEAKER_{number:02}" for number, name in enumerate(order)}
    voices = {ids[match.speaker]: match for match in diarization.voices if match.speaker in ids}
    turns = [replace(turn, speaker=ids[turn.speaker]) for turn in turns]
    exclusive = [replace(turn, speaker=ids[turn.speaker]) for turn in exclusive]
    return replace(
        transcript,
        segments=tuple(_mark_overlaps(_spoken(transcript.segments, exclusive), turns)),
        speakers=tuple(_described(ids.values(), turns, voices)),
        turns=tuple(turns),
    )


def carry_labels(
    names: Mapping[str, str], before: Sequence[SpeakerTurn], after: Sequence[SpeakerTurn]
) -> dict[str, str]:
    """Carry the names that people gave to speakers over to a new diarization.

    Who talks at the same time in both is the same person: the pair that shares most seconds
    first, each speaker once.

    Args:
        names: By the speakers' ids in the earlier diarization; not all need have one.
        before: The turns of the earlier diarization.
        after: Those of the new one.

    Returns:
        Names by the speakers' ids in the new diarization.
    """
    spans = [(turn.start, turn.end, ("before", turn.speaker)) for turn in before]
    spans += [(turn.start, turn.end, ("after", turn.speaker)) for turn in after]
    shared: defaultdict[tuple[str, str], float] = defaultdict(float)
    for start, end, talking in _stretches(spans):
        for old in (speaker for side, speaker in talking if side == "before"):
            for new in (speaker for side, speaker in talking if side == "after"):
                shared[old, new] += end - start
    heirs: dict[str, str] = {}
    for old, new in sorted(shared, key=lambda pair: (-round(shared[pair], 3), pair)):
        if old not in heirs and new not in heirs.values():
            heirs[old] = new
    return {new: names[old] for old, new in heirs.items() if old in names}


def _inside(turns: Iterable[SpeakerTurn], duration: float) -> list[SpeakerTurn]:
    """Return what of the turns lies inside the recording, on milliseconds."""
    cut = [
        replace(turn, start=max(0.0, round(turn.start, 3)), end=min(duration, round(turn.end, 3)))
        for turn in turns
    ]
    return [turn for turn in cut if turn.start < turn.end]


def _described(
    ids: Iterable[str], turns: Iterable[SpeakerTurn], voices: Mapping[str, VoiceMatch]
) -> Iterator[Speaker]:
    seconds: defaultdict[str, float] = defaultdict(float)
    for turn in turns:
        seconds[turn.speaker] += turn.end - turn.start
    number = 0
    for speaker in ids:
        match = voices.get(speaker)
        name = match.name if match else None
        number += name is None
        yield Speaker(
            speaker,
            name or f"{'Unknown' if voices else 'Speaker'} {number}",
            round(seconds[speaker], 3),
            known=name is not None if voices else None,
            similarity=match.similarity if match else None,
        )


def _spoken(segments: Sequence[Segment], exclusive: Sequence[SpeakerTurn]) -> Iterator[Segment]:
    """Yield the segments with speakers on their words, split where the speaker changes."""
    words = [word for segment in segments for word in segment.words]
    heard = _heard_speakers(words, exclusive)
    speakers: list[str | None] = []
    for sentence in _sentences(words):
        speakers += _realigned(words[sentence], _smoothed(words[sentence], heard[sentence]))
    spoken = (replace(word, speaker=who) for word, who in zip(words, speakers, strict=True))
    for segment in segments:
        yield from _split(segment, islice(spoken, len(segment.words)))


def _heard_speakers(words: Iterable[Word], turns: Sequence[SpeakerTurn]) -> list[str | None]:
    """Return for each word who has the turn that it overlaps most, or else the nearest one."""
    index = _Index([turn.start for turn in turns], [turn.end for turn in turns])
    speakers = []
    for word in words:
        met = index.meeting(word.start, word.end)
        # Where it meets none, the last turn before it and the first after it are the nearest.
        turn = min(
            turns[met] or turns[max(met.start - 1, 0) : met.start + 1],
            key=lambda turn: _distance(word, turn),
            default=None,
        )
        near = turn is not None and _distance(word, turn) < _NEAR_SECONDS
        speakers.append(turn.speaker if turn and near else None)
    return speakers


def _distance(word: Word, turn: SpeakerTurn) -> float:
    """Return the seconds between a word and a turn; where they overlap, below 0 by how much."""
    return round(max(word.start, turn.start) - min(word.end, turn.end), 3)


def _sentences(words: Sequence[Word]) -> Iterator[slice]:
    """Yield the place of each sentence: it ends at a full stop and the like, or at a pause."""
    first = 0
    for after, word in enumerate(words, start=1):
        pauses = after == len(words) or _pause(word, words[after]) > _PAUSE_SECONDS
        if pauses or _SENTENCE_END.search(word.word):
            yield slice(first, after)
            first = after


def _smoothed(words: Sequence[Word], speakers: Sequence[str | None]) -> list[str | None]:
    """Give a single word of a sentence to the one who speaks right before and right after it."""
    smooth = list(speakers)
    for at in range(1, len(words) - 1):
        pause = max(_pause(words[at - 1], words[at]), _pause(words[at], words[at + 1]))
        around = smooth[at - 1]
        if around is not None and around == smooth[at + 1] and pause < _FLIP_GAP_SECONDS:
            smooth[at] = around
    return smooth


def _realigned(words: Sequence[Word], speakers: list[str | None]) -> list[str | None]:
    """Give a sentence's first and last words to the one who clearly says the rest of it."""
    ((most, count),) = Counter(speakers).most_common(1)
    if most is None or count < _CLEAR_MAJORITY * len(words):
        return speakers
    first = speakers.index(most)
    after = len(speakers) - speakers[::-1].index(most)
    if _seconds(words[:first]) > _EDGE_SECONDS:
        first = 0
    if _seconds(words[after:]) > _EDGE_SECONDS:
        after = len(speakers)
    return [most] * first + speakers[first:after] + [most] * (len(speakers) - after)


def _pause(left: Word, right: Word) -> float:
    return round(right.start - left.end, 3)


def _seconds(words: Sequence[Word]) -> float:
    return round(words[-1].end - words[0].start, 3) if words else 0.0


def _split(segment: Segment, words: Iterable[Word]) -> Iterator[Segment]:
    """Yield a segment for each run of words of one speaker."""
    for speaker, run in groupby(words, key=lambda word: word.speaker):
        own = tuple(run)
        whole = len(own) == len(segment.words)
        # The engine's confidence in a whole segment is finer than the mean of its words.
        part = replace(segment, words=own) if whole else segment.with_words(own)
        yield replace(part, speaker=speaker)


def _mark_overlaps(segments: Iterable[Segment], turns: Sequence[SpeakerTurn]) -> Iterator[Segment]:
    """Mark the segments during which more than one speaker talks at once."""
    spans = _crosstalk(turns)
    index = _Index([start for start, _ in spans], [end for _, end in spans])
    for segment in segments:
        shared = (
            round(min(end, segment.end) - max(start, segment.start), 3)
            for start, end in spans[index.meeting(segment.start, segment.end)]
        )
        yield replace(segment, overlap=any(seconds >= _OVERLAP_SECONDS for seconds in shared))


def _crosstalk(turns: Iterable[SpeakerTurn]) -> list[tuple[float, float]]:
    """Return when more than one speaker talks, in order; what touches is one stretch."""
    found: list[tuple[float, float]] = []
    for start, end, talking in _stretches([(t.start, t.end, t.speaker) for t in turns]):
        if len(talking) > 1:
            begun = found.pop()[0] if found and found[-1][1] == start else start
            found.append((begun, end))
    return found


def _stretches(
    spans: Sequence[tuple[float, float, _Who]],
) -> Iterator[tuple[float, float, frozenset[_Who]]]:
    """Cut time wherever a span begins or ends: yield start, end and who talks in between."""
    edges = [(start, 1, who) for start, _, who in spans]
    edges += [(end, -1, who) for _, end, who in spans]
    talking: Counter[_Who] = Counter()
    at = 0.0
    for time, change, who in sorted(edges, key=lambda edge: edge[0]):
        if time > at and talking:
            yield at, time, frozenset(talking)
        at = time
        talking[who] += change
        if not talking[who]:
            del talking[who]


@dataclass(frozen=True)
class _Index:
    """Finds spans by time; they are in order and never overlap."""

    starts: Sequence[float]
    ends: Sequence[float]

    def meeting(self, start: float, end: float) -> slice:
        """Return the place of the spans that share time with `[start, end)`."""
        return slice(bisect_right(self.ends, start), bisect_left(self.starts, end))
