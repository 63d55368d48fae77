"""The contract of `ChunkRepository`, on every database that it has to work with."""

from __future__ import annotations

import asyncio

import pytest
from pymongo.errors import DuplicateKeyError

from repositories.chunk_repository import ChunkRepository
from repositories.models import ChunkModel, ChunkResult, ChunkStatus, JobError

SEGMENTS = [{"start": 0.0, "end": 1.5, "text": "Grüezi 🎙", "words": [{"word": "Grüezi", "p": 0.9}]}]
HEARD = ChunkResult(language="de", segments=SEGMENTS, covered_seconds=1.25, speech_seconds=1.5)
NOTHING = ChunkResult(language="en")
ERROR = JobError(code="engine_failed", message="whisper-cli ended: «signal 11».", retryable=True)
PENDING, DONE, FAILED = ChunkStatus.PENDING, ChunkStatus.DONE, ChunkStatus.FAILED


@pytest.fixture
async def chunks(database) -> ChunkRepository:
    repository = ChunkRepository(database)
    await repository.ensure_indexes()
    return repository


def a_chunk(index: int, job_id: str = "job-1", **fields) -> ChunkModel:
    start = index * 30.0
    values = {
        "id": ChunkModel.make_id(job_id, index),
        "start": start,
        "end": start + 31.25,
        "core_start": start,
        "core_end": start + 30.0,
        "has_speech": True,
    }
    return ChunkModel(job_id=job_id, index=index, **values | fields)


async def fill(chunks: ChunkRepository, count: int, job_id: str = "job-1") -> None:
    await chunks.add_chunks(job_id, [a_chunk(index, job_id) for index in range(count)])


async def get(chunks: ChunkRepository, index: int) -> ChunkModel:
    return (await chunks.get_chunks("job-1"))[index]


def indexes_of(chunks: list[ChunkModel]) -> list[int]:
    return [chunk.index for chunk in chunks]


async def test_chunks_come_back_in_order(chunks):
    made = [a_chunk(index, has_speech=index != 1) for index in range(12)]
    made[3] = a_chunk(3, skips=[(1.5, 2.25), (4.0, 5.0)], status=DONE)
    await chunks.add_chunks("job-1", made[::-1])
    assert await chunks.get_chunks("job-1") == made
    assert await chunks.get_chunks("job-2") == []
    await chunks.add_chunks("job-1", [])
    assert await chunks.count("job-1") == 12


@pytest.mark.parametrize("settled", [True, False])
async def test_chunks_from_one_on(chunks, settled):
    await fill(chunks, 6)
    await fill(chunks, 6, "job-2")
    for chunk in await chunks.claim("job-1", [0, 1, 2, 4], "us"):
        assert await (chunks.give_up(chunk, ERROR) if chunk.index else chunks.commit(chunk, HEARD))

    async def found(index, limit=100, job_id="job-1"):
        return indexes_of(await chunks.get_chunks_from(job_id, index, limit, settled=settled))

    assert await found(0) == ([0, 1, 2] if settled else [0, 1, 2, 3, 4, 5])
    assert await found(2) == ([2] if settled else [2, 3, 4, 5])
    assert await found(4) == ([4] if settled else [4, 5])
    assert await found(0, limit=2) == [0, 1]
    assert await found(6) == []
    assert await found(0, job_id="job-2") == ([] if settled else [0, 1, 2, 3, 4, 5])
    (first,) = await chunks.get_chunks_from("job-1", 0, 1, settled=settled)
    assert first == await get(chunks, 0)


async def test_cutting_again_keeps_what_is_done(chunks):
    """An attempt that died in the middle had written some of them."""
    await fill(chunks, 2)
    first, second = await chunks.claim("job-1", [0, 1], "us")
    assert await chunks.commit(first, HEARD)
    assert await chunks.give_up(second, ERROR)
    before = await chunks.get_chunks("job-1")
    await fill(chunks, 4)
    assert await chunks.get_chunks("job-1") == [*before, a_chunk(2), a_chunk(3)]


async def test_more_chunks_than_one_message_takes(chunks):
    await fill(chunks, 1201)
    assert await chunks.count("job-1") == 1201
    assert indexes_of(await chunks.get_chunks("job-1")) == list(range(1201))
    assert await chunks.pending_indexes("job-1") == list(range(1201))


async def test_two_writers_at_once_leave_one_whole_set(chunks):
    await asyncio.gather(*(fill(chunks, 40) for _ in range(4)))
    assert await chunks.get_chunks("job-1") == [a_chunk(index) for index in range(40)]


async def test_claimed_chunks_carry_their_holder_and_the_others_stay(chunks):
    await fill(chunks, 4)
    await fill(chunks, 4, "job-2")
    claimed = await chunks.claim("job-1", [2, 0, 7], "us")
    assert claimed == [a_chunk(0, holder="us"), a_chunk(2, holder="us")]
    assert await chunks.get_chunks("job-1") == [
        a_chunk(0, holder="us"), a_chunk(1), a_chunk(2, holder="us"), a_chunk(3),
    ]  # fmt: skip
    assert await chunks.get_chunks("job-2") == [a_chunk(index, "job-2") for index in range(4)]
    assert await chunks.claim("job-1", [], "us") == []
    assert await chunks.claim("job-3", [0], "us") == []


async def test_claiming_twice_is_claiming_once(chunks):
    """The first answer may have been lost."""
    await fill(chunks, 2)
    first = await chunks.claim("job-1", [0, 1], "us")
    assert await chunks.claim("job-1", [0, 1], "us") == first


async def test_only_pending_chunks_are_claimed(chunks):
    await fill(chunks, 3)
    first, second, _ = await chunks.claim("job-1", range(3), "us")
    await chunks.commit(first, HEARD)
    await chunks.give_up(second, ERROR)
    assert indexes_of(await chunks.claim("job-1", range(3), "others")) == [2]
    assert [chunk.holder for chunk in await chunks.get_chunks("job-1")] == ["us", "us", "others"]


async def test_commit_stores_the_result(chunks):
    await fill(chunks, 2)
    (claimed,) = await chunks.claim("job-1", [0], "us")
    assert await chunks.commit(claimed, HEARD)
    done = claimed.model_copy(update={"status": DONE, **HEARD.model_dump()})
    assert await chunks.get_chunks("job-1") == [done, a_chunk(1)]
    assert await chunks.commit(claimed, HEARD), "the first answer may have been lost"
    assert await get(chunks, 0) == done


async def test_chunk_without_words_can_be_committed(chunks):
    await fill(chunks, 1)
    (claimed,) = await chunks.claim("job-1", [0], "us")
    assert await chunks.commit(claimed, NOTHING)
    assert (await get(chunks, 0)).status is DONE


async def test_unclaimed_or_deleted_chunk_cannot_be_committed(chunks):
    await fill(chunks, 1)
    stranger = a_chunk(0, holder="nobody")
    assert not await chunks.commit(stranger, HEARD)
    assert not await chunks.give_up(stranger, ERROR)
    assert await get(chunks, 0) == a_chunk(0)
    (claimed,) = await chunks.claim("job-1", [0], "us")
    await chunks.delete_chunks("job-1")
    assert not await chunks.commit(claimed, HEARD)
    assert await chunks.get_chunks("job-1") == []


async def test_who_lost_a_chunk_can_neither_commit_it_nor_give_it_up(chunks):
    await fill(chunks, 1)
    (loser,) = await chunks.claim("job-1", [0], "first")
    (holder,) = await chunks.claim("job-1", [0], "second")
    assert not await chunks.commit(loser, NOTHING)
    assert not await chunks.give_up(loser, ERROR)
    assert await get(chunks, 0) == holder
    assert await chunks.commit(holder, HEARD)
    assert not await chunks.commit(loser, NOTHING)
    assert (await get(chunks, 0)).segments == SEGMENTS


async def test_of_many_claimers_at_once_one_can_commit(chunks):
    await fill(chunks, 5)
    names = [f"holder-{at}" for at in range(10)]
    await asyncio.gather(*(chunks.claim("job-1", range(5), name) for name in names))
    for index in range(5):
        tries = [a_chunk(index, holder=name) for name in names]
        assert [await chunks.commit(chunk, HEARD) for chunk in tries].count(True) == 1


async def test_chunks_given_up_say_why_and_can_be_reopened(chunks):
    await fill(chunks, 3)
    await fill(chunks, 1, "job-2")
    (other,) = await chunks.claim("job-2", [0], "us")
    await chunks.give_up(other, ERROR)
    first, second, third = await chunks.claim("job-1", range(3), "us")
    assert await chunks.give_up(first, ERROR)
    assert await chunks.give_up(second, ERROR)
    assert await chunks.commit(third, HEARD)
    given_up = await get(chunks, 0)
    assert given_up == first.model_copy(update={"status": FAILED, "error": ERROR})
    assert await chunks.pending_indexes("job-1") == []

    assert await chunks.reopen_failed("job-1") == 2
    assert await chunks.reopen_failed("job-1") == 0
    assert await chunks.pending_indexes("job-1") == [0, 1]
    assert (await chunks.get_chunks("job-1"))[:2] == [a_chunk(0), a_chunk(1)]
    assert await chunks.count("job-2", FAILED) == 1
    assert not await chunks.commit(first, HEARD), "its claim is over"


async def test_what_is_pending_can_be_given_up_at_once(chunks):
    await fill(chunks, 3)
    await fill(chunks, 1, "job-2")
    first, second = await chunks.claim("job-1", [0, 1], "us")
    await chunks.commit(first, HEARD)
    done = await get(chunks, 0)
    assert await chunks.give_up_pending("job-1", ERROR) == 2
    assert await chunks.give_up_pending("job-1", ERROR) == 0
    given_up = {"status": FAILED, "error": ERROR}
    assert await chunks.get_chunks("job-1") == [
        done,
        a_chunk(1, **given_up),
        a_chunk(2, **given_up),
    ]
    assert not await chunks.commit(second, HEARD), "its claim is over"
    assert await chunks.pending_indexes("job-2") == [0]


async def test_counts(chunks):
    await fill(chunks, 4)
    await fill(chunks, 9, "job-2")
    first, second = await chunks.claim("job-1", [0, 1], "us")
    await chunks.commit(first, HEARD)
    await chunks.give_up(second, ERROR)
    counts = [await chunks.count("job-1", status) for status in (None, PENDING, DONE, FAILED)]
    assert counts == [4, 2, 1, 1]
    assert await chunks.pending_indexes("job-1") == [2, 3]
    assert await chunks.count("job-3") == 0
    assert await chunks.pending_indexes("job-3") == []


async def test_deleting_removes_one_jobs_chunks(chunks):
    await fill(chunks, 4)
    await fill(chunks, 2, "job-2")
    assert await chunks.delete_chunks("job-1") == 4
    assert await chunks.delete_chunks("job-1") == 0
    assert await chunks.count("job-2") == 2


async def test_a_megabyte_of_segments_in_any_script_comes_back_whole(chunks):
    words = ["naïve", "日本語", "עברית", "🎙️", "$set", "a.b", "{}", "\x00", "\u2028", "'", '"', ""]
    segment = {"start": 0.1, "end": 1 / 3, "$text": " ".join(words), "a.b": None, "words": words}
    segments = [segment | {"id": index} for index in range(6000)]
    await fill(chunks, 1)
    (claimed,) = await chunks.claim("job-1", [0], "us")
    assert await chunks.commit(claimed, ChunkResult(segments=segments))
    assert (await get(chunks, 0)).segments == segments


async def test_indexes_can_be_made_again_and_after_the_documents(database):
    repository = ChunkRepository(database)
    await fill(repository, 3)
    await repository.ensure_indexes()
    await repository.ensure_indexes()
    collection = database.get_collection("chunks")
    keys = [tuple(index["key"]) for index in (await collection.index_information()).values()]
    assert len(keys) == len(set(keys)) == 3
    assert await repository.get_chunks("job-1") == [a_chunk(index) for index in range(3)]
    with pytest.raises(DuplicateKeyError):
        await collection.insert_one(a_chunk(0).to_dict() | {"_id": "another"})
