"""The contract of `SegmentRepository`, on every database that it has to work with."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from repositories.segment_repository import (
    STRETCH,
    Indexed,
    Place,
    Segment,
    SegmentRepository,
    place_of,
)

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.fixture
async def segments(database) -> SegmentRepository:
    repository = SegmentRepository(database)
    await repository.ensure_indexes()
    return repository


def a_segment(number: int = 0) -> Segment:
    return Segment(1.5 * number, 1.5 * number + 1.25, None, f"text {number} — 会议 'x\" $y.z")


def an_entry(job_id: str = "a", *, owner: str = "ann", version: str = "1", minute: int = 0):
    at = place_of(NOON + timedelta(minutes=minute), job_id)
    return Indexed(owner, job_id, version, at)


async def jobs_with(segments: SegmentRepository, term: str, owner: str = "ann", **bounds):
    found = await segments.get_postings(owner, term, **{"limit": 100} | bounds)
    return [posting.job_id for posting in found]


async def test_what_was_added_is_found(segments):
    entry, said = an_entry(), [a_segment(0), Segment(2.0, 3.5, "SPEAKER_01", "Yes.")]
    await segments.add(entry, said, {"text": [0], "yes": [1], "x": [0, 1]})
    (posting,) = await segments.get_postings("ann", "x", limit=5)
    assert (posting.job_id, posting.version, posting.at) == ("a", "1", entry.at)
    assert posting.segments == (0, 1)
    places = [Place("a", "1", number) for number in (0, 1)]
    assert await segments.get_segments(places) == dict(zip(places, said, strict=True))
    assert await segments.get_postings("ann", "no", limit=5) == []


async def test_adding_twice_adds_once(segments):
    """What a killed process had begun is there already; what is missing is added."""
    said = [a_segment(number) for number in range(2)]
    await segments.add(an_entry(), said, {"text": [0, 1]})
    await segments.add(an_entry(), said, {"text": [0, 1], "more": [0]})
    assert await jobs_with(segments, "text") == ["a"]
    assert await jobs_with(segments, "more") == ["a"]


async def test_nothing_is_added(segments):
    await segments.add(an_entry(), [], {})
    assert await segments.get_segments([Place("a", "1", 0)]) == {}
    assert await segments.get_segments([]) == {}
    assert await segments.get_postings_of([("a", "1")], []) == {}


@pytest.mark.parametrize("term", ["2026", "20260131", "1770000000000", "true", "null", "会议", "ß"])
async def test_a_term_is_text_whatever_it_looks_like(segments, term):
    await segments.add(an_entry(), [a_segment()], {term: [0]})
    assert await jobs_with(segments, term) == ["a"]
    found = await segments.get_postings_of([("a", "1")], [term])
    assert [posting.segments for posting in found[("a", "1")]] == [(0,)]


async def test_newest_jobs_come_first_whatever_the_order_of_adding(segments):
    for job_id, minute in (("b", 2), ("c", 1), ("a", 1), ("d", 3)):
        await segments.add(an_entry(job_id, minute=minute), [a_segment()], {"x": [0]})
    assert await jobs_with(segments, "x") == ["d", "b", "c", "a"]
    assert await jobs_with(segments, "x", limit=2) == ["d", "b"]
    second = place_of(NOON + timedelta(minutes=1), "c")
    assert await jobs_with(segments, "x", upto=second) == ["c", "a"]
    assert await jobs_with(segments, "x", before=second) == ["a"]
    assert await jobs_with(segments, "x", since=second) == ["d", "b", "c"]
    two = place_of(NOON + timedelta(minutes=2))
    assert await jobs_with(segments, "x", since=two) == ["d", "b"]
    assert await jobs_with(segments, "x", upto=two) == ["c", "a"]
    first = place_of(datetime.min.replace(tzinfo=UTC))
    assert await jobs_with(segments, "x", since=first, upto=two) == ["c", "a"]
    assert await jobs_with(segments, "x", upto=first) == []


async def test_owners_find_their_own(segments):
    await segments.add(an_entry("a", owner="ann"), [a_segment()], {"x": [0]})
    await segments.add(an_entry("b", owner="bob"), [a_segment()], {"x": [0]})
    assert await jobs_with(segments, "x") == ["a"]
    assert await jobs_with(segments, "x", "bob") == ["b"]
    assert await jobs_with(segments, "x", "") == []


async def test_postings_of_given_transcripts(segments):
    for job_id in ("a", "b"):
        for version in ("1", "2"):
            entry = an_entry(job_id, version=version)
            await segments.add(entry, [a_segment()], {"x": [0], "y": [1], "z": [2]})
    found = await segments.get_postings_of([("a", "2"), ("b", "1"), ("c", "1")], ["x", "z", "no"])
    numbers = {key: sorted(p.segments for p in postings) for key, postings in found.items()}
    assert numbers == {("a", "2"): [(0,), (2,)], ("b", "1"): [(0,), (2,)]}


async def test_segments_of_long_transcripts(segments):
    count = 5 * STRETCH + 1
    said = [a_segment(number) for number in range(count)]
    await segments.add(an_entry(), said, {f"t{number}": [number] for number in range(count)})
    wanted = [Place("a", "1", number) for number in (count - 1, 0, STRETCH, STRETCH - 1)]
    found = await segments.get_segments([*wanted, Place("a", "2", 0)])
    assert found == {place: said[place.number] for place in wanted}
    # More documents than one batch has.
    assert [await jobs_with(segments, f"t{at}") for at in (0, 200, count - 1)] == [["a"]] * 3


async def everything(segments: SegmentRepository) -> set[tuple[str, str]]:
    """Whose postings and segments there are."""
    of = {(p.job_id, p.version) for p in await segments.get_postings("ann", "x", limit=100)}
    places = [Place(job_id, version, 0) for job_id in "ab" for version in "123"]
    texts = {(place.job_id, place.version) for place in await segments.get_segments(places)}
    assert of == texts
    return of


@pytest.mark.parametrize(("version", "left"), [(None, ""), ("2", "13"), ("4", "123")])
async def test_deleting(segments, version, left):
    for job_id in "ab":
        for each in "123":
            await segments.add(an_entry(job_id, version=each), [a_segment()], {"x": [0]})
    await segments.delete("a", version)
    await segments.delete("a", version)
    assert await segments.get_versions("a") == set(left)
    kept = {("a", each) for each in left}
    assert await everything(segments) == kept | {("b", each) for each in "123"}
