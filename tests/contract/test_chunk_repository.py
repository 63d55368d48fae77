"""The contract of `ChunkRepository`, on every database that it has to work with."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from pymongo.errors import DuplicateKeyError

from repositories.chunk_repository import ChunkRepository
from repositories.models import ChunkModel, ChunkResult, ChunkStatus, utc_now

LEASE = 3600.0
EXPIRED = -1.0  # a lease that has ended when it is given
SEGMENTS = [{"start": 0.0, "end": 1.5, "text": "Grüezi 🎙", "words": [{"word": "Grüezi", "p": 0.9}]}]
HEARD = ChunkResult(language="de", segments=SEGMENTS, covered_seconds=1.25, speech_seconds=1.5)
NOTHING = ChunkResult(language="en")


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
    await chunks.replace_chunks(job_id, [a_chunk(index, job_id) for index in range(count)])


async def get(chunks: ChunkRepository, index: int) -> ChunkModel:
    return (await chunks.get_chunks("job-1"))[index]


async def test_chunks_come_back_in_order(chunks):
    made = [a_chunk(index, has_speech=index != 1) for index in range(12)]
    made[3] = a_chunk(3, skips=[(1.5, 2.25), (4.0, 5.0)], status=ChunkStatus.DONE)
    await chunks.replace_chunks("job-1", made[::-1])
    assert await chunks.get_chunks("job-1") == made
    assert await chunks.get_chunks("job-2") == []


async def test_replacing_removes_the_earlier_attempt_of_that_job_only(chunks):
    await fill(chunks, 5)
    await fill(chunks, 2, "job-2")
    await chunks.claim("job-1", [0, 1], LEASE)
    await fill(chunks, 3)
    assert await chunks.get_chunks("job-1") == [a_chunk(index) for index in range(3)]
    assert await chunks.count("job-2") == 2
    await chunks.replace_chunks("job-1", [])
    assert await chunks.count("job-1") == 0


async def test_more_chunks_than_one_message_takes(chunks):
    await fill(chunks, 1201)
    assert await chunks.count("job-1") == 1201
    assert [chunk.index for chunk in await chunks.get_chunks("job-1")] == list(range(1201))


async def test_two_writers_at_once_leave_one_whole_set(chunks):
    await asyncio.gather(*(fill(chunks, 40) for _ in range(4)))
    assert await chunks.get_chunks("job-1") == [a_chunk(index) for index in range(40)]


async def test_claimed_chunk_carries_lease_and_attempt(chunks):
    await fill(chunks, 3)
    before = utc_now()
    claimed = await chunks.claim("job-1", [2, 0, 7], LEASE)
    assert [chunk.index for chunk in claimed] == [2, 0]
    assert {(chunk.status, chunk.attempt) for chunk in claimed} == {(ChunkStatus.RUNNING, 1)}
    for chunk in claimed:
        length = timedelta(seconds=LEASE)
        assert before + length <= chunk.lease_until <= utc_now() + length
        assert await get(chunks, chunk.index) == chunk
    assert await get(chunks, 1) == a_chunk(1)


async def test_each_chunk_goes_to_one_of_many_claimers(chunks):
    await fill(chunks, 30)
    batches = await asyncio.gather(*(chunks.claim("job-1", range(30), LEASE) for _ in range(20)))
    taken = [chunk.index for batch in batches for chunk in batch]
    assert sorted(taken) == list(range(30))
    assert {chunk.attempt for chunk in await chunks.get_chunks("job-1")} == {1}


async def test_expired_lease_goes_to_one_of_many_claimers(chunks):
    await fill(chunks, 10)
    await chunks.claim("job-1", range(10), EXPIRED)
    batches = await asyncio.gather(*(chunks.claim("job-1", range(10), LEASE) for _ in range(10)))
    taken = [chunk.index for batch in batches for chunk in batch]
    assert sorted(taken) == list(range(10))
    assert {chunk.attempt for chunk in await chunks.get_chunks("job-1")} == {2}


async def test_expired_lease_frees_that_chunk_and_no_other(chunks):
    await fill(chunks, 3)
    await fill(chunks, 1, "job-2")
    await chunks.claim("job-2", [0], EXPIRED)
    (expired,) = await chunks.claim("job-1", [0], EXPIRED)
    (held,) = await chunks.claim("job-1", [1], LEASE)
    assert (held.id, held.attempt) == ("job-1:1", 1)
    assert await chunks.claim("job-1", [1], LEASE) == []
    assert await chunks.get_chunks("job-1") == [expired, held, a_chunk(2)]
    assert [chunk.attempt for chunk in await chunks.get_chunks("job-2")] == [1]


async def test_commit_stores_the_result_once(chunks):
    await fill(chunks, 2)
    (claimed,) = await chunks.claim("job-1", [0], LEASE)
    assert await chunks.commit(claimed, HEARD)
    done = {"status": ChunkStatus.DONE, "lease_until": None, **HEARD.model_dump()}
    assert await get(chunks, 0) == claimed.model_copy(update=done)
    assert not await chunks.commit(claimed, NOTHING)
    assert (await get(chunks, 0)).language == "de"
    assert await chunks.claim("job-1", [0], LEASE) == []


async def test_chunk_without_words_can_be_committed(chunks):
    await fill(chunks, 1)
    (claimed,) = await chunks.claim("job-1", [0], LEASE)
    assert await chunks.commit(claimed, NOTHING)
    assert (await get(chunks, 0)).status is ChunkStatus.DONE


async def test_unclaimed_or_deleted_chunk_cannot_be_committed(chunks):
    await fill(chunks, 1)
    assert not await chunks.commit(a_chunk(0), HEARD)
    (claimed,) = await chunks.claim("job-1", [0], LEASE)
    await chunks.delete_chunks("job-1")
    assert not await chunks.commit(claimed, HEARD)
    assert await chunks.get_chunks("job-1") == []


async def test_who_lost_the_lease_cannot_commit_renew_or_release(chunks):
    await fill(chunks, 1)
    (loser,) = await chunks.claim("job-1", [0], EXPIRED)
    (holder,) = await chunks.claim("job-1", [0], LEASE)
    assert not await chunks.commit(loser, NOTHING)
    await chunks.renew([loser], 2 * LEASE)
    await chunks.release([loser])
    assert await get(chunks, 0) == holder
    assert await chunks.commit(holder, HEARD)
    assert (await get(chunks, 0)).segments == SEGMENTS


async def test_expired_lease_that_nobody_took_is_still_good(chunks):
    await fill(chunks, 1)
    (claimed,) = await chunks.claim("job-1", [0], EXPIRED)
    assert await chunks.commit(claimed, HEARD)


async def test_renewed_lease_keeps_others_away(chunks):
    await fill(chunks, 2)
    claimed = await chunks.claim("job-1", [0, 1], EXPIRED)
    await chunks.renew(claimed[:1], LEASE)
    renewed = await get(chunks, 0)
    assert renewed.lease_until > utc_now()
    assert renewed.attempt == claimed[0].attempt
    taken = await chunks.claim("job-1", [0, 1], LEASE)
    assert [chunk.index for chunk in taken] == [1]


async def test_released_chunks_are_free_and_finished_ones_stay(chunks):
    await fill(chunks, 2)
    claimed = await chunks.claim("job-1", [0, 1], LEASE)
    await chunks.commit(claimed[1], HEARD)
    await chunks.release(claimed)
    await chunks.renew(claimed, LEASE)
    free, done = await chunks.get_chunks("job-1")
    assert (free.status, free.lease_until) == (ChunkStatus.PENDING, None)
    assert (done.status, done.lease_until) == (ChunkStatus.DONE, None)
    (again,) = await chunks.claim("job-1", [0, 1], LEASE)
    assert (again.index, again.attempt) == (0, 2)


async def test_counts(chunks):
    await fill(chunks, 4)
    await fill(chunks, 9, "job-2")
    claimed = await chunks.claim("job-1", [0, 1], LEASE)
    await chunks.commit(claimed[0], HEARD)
    statuses = [None, ChunkStatus.PENDING, ChunkStatus.RUNNING, ChunkStatus.DONE]
    assert [await chunks.count("job-1", status) for status in statuses] == [4, 2, 1, 1]
    assert await chunks.count_unfinished("job-1", range(4)) == 3
    assert await chunks.count_unfinished("job-1", [0]) == 0
    assert await chunks.count_unfinished("job-1", [1, 2, 99]) == 2
    assert await chunks.count_unfinished("job-1", []) == 0
    assert await chunks.count("job-3") == 0


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
    (claimed,) = await chunks.claim("job-1", [0], LEASE)
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
