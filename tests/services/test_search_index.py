"""What becomes of what can be found when transcripts are replaced or deleted."""

from __future__ import annotations

import asyncio

import pytest

from repositories.models import JobStatus
from tests.services.support import put, stored
from tests.services.transcripts import (
    MINUTE,
    NOON,
    counts,
    found,
    move_to,
    places,
    transcribed,
)


async def test_indexing_again_changes_nothing(parts):
    job = await transcribed(parts, "a", ["one two", "two"])
    before = await counts(parts)
    await parts.search.index(job)  # as it was: nothing indexed yet
    now = await parts.jobs.get_job("a")
    assert now is not None
    await parts.search.index(now)
    await asyncio.gather(*(parts.search.index(job) for _ in range(4)))
    assert await counts(parts) == before
    assert places(await found(parts, "two")) == [("a", 0), ("a", 1)]


async def test_a_new_transcript_replaces_the_old_one(parts):
    job = await transcribed(parts, "a", ["old words"])
    now = await move_to(parts, job, "v2", ["new words", "more words"])
    # Until it is indexed, the one before is found.
    assert places(await found(parts, "words")) == [("a", 0)]
    await parts.search.index(now)
    assert places(await found(parts, "words")) == [("a", 0), ("a", 1)]
    assert await found(parts, "old") == []
    assert await counts(parts) == (3, 1)


async def test_a_search_never_finds_both_transcripts(parts):
    """Searching all the while that one is replaced: what is found is of one of the two."""
    job = await transcribed(parts, "a", ["word old"] * 40)
    now = await move_to(parts, job, "v2", ["word new"] * 60)
    indexing = asyncio.create_task(parts.search.index(now))
    seen = set()
    while not indexing.done() or "new" not in seen:
        page = await parts.search.search("ann", "word", limit=100)
        seen |= {hit.segment.text.split()[1] for hit in page.hits}
        texts = {hit.segment.text for hit in page.hits}
        assert len(texts) <= 1
        if texts:
            assert len(page.hits) == (40 if texts == {"word old"} else 60)
    await indexing
    assert seen <= {"old", "new"}


async def test_an_overtaken_index_leaves_nothing(parts):
    """The transcript is replaced while the one before is read: only the new one is found."""
    job = await transcribed(parts, "a", ["old words"], index=False)
    now = await move_to(parts, job, "v2", ["new words"])
    await parts.search.index(now)
    await parts.search.index(job)
    assert [hit.segment.text for hit in await found(parts, "words")] == ["new words"]
    assert await counts(parts) == (2, 1)


async def test_a_slow_index_leaves_a_newer_one_alone(parts, monkeypatch):
    """Another is recorded just before the first removes what it replaces."""
    job = await transcribed(parts, "a", ["old words"], index=False)
    set_indexed = parts.jobs.set_indexed

    async def overtaken(*arguments):
        recorded = await set_indexed(*arguments)
        monkeypatch.undo()
        await parts.search.index(await move_to(parts, job, "v2", ["new words"]))
        return recorded

    monkeypatch.setattr(parts.jobs, "set_indexed", overtaken)
    await parts.search.index(job)
    assert [hit.segment.text for hit in await found(parts, "words")] == ["new words"]


async def test_a_late_repetition_leaves_what_is_found(parts):
    """Of the transcript before, while the new one is not indexed yet."""
    job = await transcribed(parts, "a", ["old words"])
    before = await parts.jobs.get_job("a")
    await move_to(parts, job, "v2", ["new words"])
    for known in (job, before):
        await parts.search.index(known)
        assert [hit.segment.text for hit in await found(parts, "words")] == ["old words"]


async def test_a_replaced_transcript_is_no_error(parts):
    job = await transcribed(parts, "a", ["old words"], index=False)
    assert job.result is not None
    await parts.store.delete(job.result.object)
    await parts.search.index(job)
    assert await counts(parts) == (0, 0)


async def test_leftovers_of_a_killed_process_are_finished_or_removed(parts, monkeypatch):
    job = await transcribed(parts, "a", ["one two three"], index=False)
    add = parts.segments.add

    async def killed(entry, segments, numbers):
        await add(entry, segments, dict(list(numbers.items())[:2]))
        raise asyncio.CancelledError

    monkeypatch.setattr(parts.segments, "add", killed)
    with pytest.raises(asyncio.CancelledError):
        await parts.search.index(job)
    monkeypatch.undo()
    assert await found(parts, "one") == await found(parts, "two") == []
    now = await move_to(parts, job, "v2", ["one two three"])
    await parts.search.index(now)
    assert await counts(parts) == (3, 1)
    assert places(await found(parts, "one two three")) == [("a", 0)]


async def test_deleting_a_task_removes_what_can_be_found(parts, endings):
    job = await transcribed(parts, "a", ["one two"])
    kept = await transcribed(parts, "b", ["one"])
    await parts.tasks.delete_task("ann", "a")
    assert places(await found(parts, "one")) == [("b", 0)]
    assert await counts(parts) == (1, 1)
    # A follow-up that comes late does not bring it back.
    await put(parts, job.result.object, {"segments": []})
    await parts.search.index(job)
    assert await counts(parts) == (1, 1)
    await endings.forget_stored(kept.id)
    assert await counts(parts) == (0, 0)


async def test_deleted_while_it_is_indexed(parts, monkeypatch):
    job = await transcribed(parts, "a", ["one two"], index=False)
    add = parts.segments.add

    async def deleted_meanwhile(*arguments):
        await parts.tasks.delete_task("ann", "a")
        await add(*arguments)

    monkeypatch.setattr(parts.segments, "add", deleted_meanwhile)
    await parts.search.index(job)
    assert await counts(parts) == (0, 0)


async def test_expired_tasks_are_not_found(parts):
    await transcribed(parts, "a", ["one"], expires_at=NOON - MINUTE)
    await parts.upkeep.sweep()
    assert await found(parts, "one") == []
    assert await counts(parts) == (0, 0)


@pytest.mark.parametrize("status", ["failed", "cancelled"])
async def test_jobs_without_a_transcript_have_nothing(parts, status):
    job = await stored(parts, "a", status=JobStatus(status))
    await parts.search.index(job)
    assert await counts(parts) == (0, 0)
