"""What is merged of the first chunks is how the transcript begins, whatever comes later."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.test_merger import (
    OVERLAP,
    assert_sound,
    cut_in_pauses,
    engine_segments,
    heard,
    merge,
)
from worker.merger import ResultMerger
from worker.transcript import Chunk


@st.composite
def overlapping(draw):
    """Chunks that hear each other's edges, and not the same there."""
    lengths = draw(st.lists(st.floats(3, 20), min_size=2, max_size=5))
    duration, place, chunks = sum(lengths), 0.0, []
    for index, length in enumerate(lengths):
        end = duration if index == len(lengths) - 1 else place + length
        audio = (max(0.0, place - OVERLAP), min(duration, end + OVERLAP))
        chunks.append(Chunk(index, *audio, place, end))
        place = end
    results = [
        heard(chunk.index, *draw(engine_segments(chunk.index, chunk.heard_seconds)))
        for chunk in chunks
    ]
    return chunks, results


RECORDINGS = cut_in_pauses() | overlapping()


def one_by_one(chunks, results):
    """The segments that each chunk adds, as its result comes in."""
    merger, duration, end = ResultMerger(), chunks[-1].core_end, 0.0
    by_index = {result.index: result for result in results}
    for chunk in chunks:
        added = []
        if chunk.index in by_index:
            result = by_index[chunk.index]
            added = merger.merge_chunk(chunk, result, after=end, duration=duration)
        end = added[-1].end if added else end
        yield added


@given(RECORDINGS)
def test_chunk_by_chunk_makes_the_same_transcript(recording):
    added = [part for parts in one_by_one(*recording) for part in parts]
    transcript = merge(*recording)
    assert added == [replace(part, suspect=False) for part in transcript.segments]
    assert_sound(transcript)


@given(RECORDINGS, st.data())
def test_later_chunks_change_nothing_of_it(recording, data):
    chunks, results = recording
    first = data.draw(st.integers(0, len(chunks)))
    before = [part for parts in list(one_by_one(chunks, results))[:first] for part in parts]
    later = [
        result
        if result.index < first
        else data.draw(
            st.sampled_from([heard(result.index), heard(result.index, failure="It crashed.")])
            | engine_segments(result.index, chunks[result.index].heard_seconds).map(
                lambda parts, index=result.index: heard(index, *parts)
            )
        )
        for result in results
    ]
    whole = [replace(part, suspect=False) for part in merge(chunks, later).segments]
    assert whole[: len(before)] == before
