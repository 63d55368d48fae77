"""Queries over chunks. Whoever claims a unit of work becomes the holder of its chunks.

A result is committed only where the chunk's holder is still the one who claimed it (a fencing
token): a consumer that lost its claim to another cannot write over the other's work.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pymongo import UpdateOne

from core.database import MongoDB, translate_mongo_error
from core.logger import logged_operation
from repositories.counting import count
from repositories.models import ChunkModel, ChunkResult, ChunkStatus, JobError

# MongoDB takes documents of 16 MB and messages of 48 MB; chunks are small, but there can be many.
_INSERT_BATCH = 500


class ChunkRepository:
    """The `chunks` collection: one document per chunk, so that no array is updated in place.

    Every method can be run twice with the same outcome, and may raise `DatabaseUnavailable`
    (retryable).
    """

    def __init__(self, database: MongoDB) -> None:
        self._chunks = database.get_collection("chunks")

    async def ensure_indexes(self) -> None:
        """Create the indexes that the queries below use; existing ones stay."""
        with logged_operation("create chunk indexes", translate=translate_mongo_error):
            await self._chunks.create_index([("job_id", 1), ("index", 1)], unique=True)
            await self._chunks.create_index([("job_id", 1), ("status", 1)])

    async def add_chunks(self, job_id: str, chunks: Sequence[ChunkModel]) -> None:
        """Write a job's chunks; those that an earlier attempt wrote stay, with their results.

        Cutting the same recording again gives the same chunks.
        """
        with _operation("write chunks", job_id):
            for at in range(0, len(chunks), _INSERT_BATCH):
                batch = []
                for chunk in chunks[at : at + _INSERT_BATCH]:
                    document = chunk.to_dict()
                    own_id = {"_id": document.pop("_id")}
                    batch.append(UpdateOne(own_id, {"$setOnInsert": document}, upsert=True))
                await self._chunks.bulk_write(batch, ordered=False)

    async def get_chunks(self, job_id: str) -> list[ChunkModel]:
        """Return a job's chunks in order."""
        with _operation("find chunks", job_id):
            cursor = self._chunks.find(_of(job_id)).sort([("index", 1)])
            return [ChunkModel.from_dict(document) async for document in cursor]

    async def get_chunks_from(
        self, job_id: str, index: int, limit: int, *, settled: bool
    ) -> list[ChunkModel]:
        """Return a job's chunks from one on, in order.

        Args:
            job_id: The job.
            index: Of the first chunk wanted.
            limit: At most how many.
            settled: Only those before the first that is pending.
        """
        wanted: dict[str, Any] = {"$gte": index}
        with _operation("find chunks", job_id):
            if settled:
                query = _of(job_id) | {"status": ChunkStatus.PENDING.value, "index": wanted}
                found = self._chunks.find(query, {"index": 1}).sort([("index", 1)]).limit(1)
                async for document in found:
                    wanted["$lt"] = document["index"]
            query = _of(job_id) | {"index": wanted}
            cursor = self._chunks.find(query).sort([("index", 1)]).limit(limit)
            return [ChunkModel.from_dict(document) async for document in cursor]

    async def pending_indexes(self, job_id: str) -> list[int]:
        """Return which of a job's chunks are neither done nor given up, in order."""
        query = _of(job_id) | {"status": ChunkStatus.PENDING.value}
        with _operation("find pending chunks", job_id):
            cursor = self._chunks.find(query, {"index": 1}).sort([("index", 1)])
            return [document["index"] async for document in cursor]

    async def claim(self, job_id: str, indexes: Sequence[int], holder: str) -> list[ChunkModel]:
        """Become the holder of those of these chunks that are pending, and return them in order.

        Args:
            job_id: The job.
            indexes: Which of its chunks.
            holder: Token of the unit's claim, which has to be ours.
        """
        ids = [ChunkModel.make_id(job_id, index) for index in indexes]
        query = {"_id": {"$in": ids}, "status": ChunkStatus.PENDING.value}
        with _operation("claim chunks", job_id):
            await self._chunks.update_many(query, {"$set": {"holder": holder}})
            cursor = self._chunks.find(query | {"holder": holder}).sort([("index", 1)])
            return [ChunkModel.from_dict(document) async for document in cursor]

    async def commit(self, chunk: ChunkModel, result: ChunkResult) -> bool:
        """Store a chunk's result, if `chunk` (as claimed) is still ours.

        Returns:
            Whether it was stored; False means that another consumer has it, or it was deleted.
        """
        return await self._settle(chunk, {"status": ChunkStatus.DONE.value, **result.to_dict()})

    async def give_up(self, chunk: ChunkModel, error: JobError) -> bool:
        """Mark a chunk as one that cannot be transcribed, if it is still ours."""
        changes = {"status": ChunkStatus.FAILED.value, "error": error.to_dict()}
        return await self._settle(chunk, changes)

    async def give_up_pending(self, job_id: str, error: JobError) -> int:
        """Mark all chunks that are pending as ones that cannot be transcribed; returns how many."""
        query = _of(job_id) | {"status": ChunkStatus.PENDING.value}
        changes = {"status": ChunkStatus.FAILED.value, "error": error.to_dict(), "holder": None}
        with _operation("give up chunks", job_id):
            result = await self._chunks.update_many(query, {"$set": changes})
        return int(result.modified_count)

    async def reopen_failed(self, job_id: str) -> int:
        """Make the chunks that were given up pending again; returns how many there were."""
        query = _of(job_id) | {"status": ChunkStatus.FAILED.value}
        changes = {"status": ChunkStatus.PENDING.value, "holder": None, "error": None}
        with _operation("reopen chunks", job_id):
            result = await self._chunks.update_many(query, {"$set": changes})
        return int(result.modified_count)

    async def count(self, job_id: str, status: ChunkStatus | None = None) -> int:
        """Return how many chunks a job has, in one state or in all."""
        query = _of(job_id) | ({} if status is None else {"status": status.value})
        with _operation("count chunks", job_id):
            return await count(self._chunks, query)

    async def delete_chunks(self, job_id: str) -> int:
        """Remove a job's chunks; returns how many there were."""
        with _operation("delete chunks", job_id):
            result = await self._chunks.delete_many(_of(job_id))
        return int(result.deleted_count)

    async def _settle(self, chunk: ChunkModel, changes: dict[str, Any]) -> bool:
        # Also where it is settled already: by us, whose first try was applied but not answered.
        held = {"_id": chunk.id, "holder": chunk.holder}
        with _operation("commit chunk", chunk.job_id):
            updated = await self._chunks.update_one(held, {"$set": changes})
        return updated.matched_count == 1


def _of(job_id: str) -> dict[str, Any]:
    # For a plain value, the embedded wire server looks into every document for arrays.
    return {"job_id": {"$eq": job_id}}


def _operation(name: str, job_id: str) -> Any:
    return logged_operation(name, translate=translate_mongo_error, quiet=True, job_id=job_id)
