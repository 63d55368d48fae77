"""Queries over chunks. A chunk is claimed under a lease, and committed only by who holds it.

The commit names the attempt that claimed the chunk (a fencing token): a consumer that lost its
lease to another cannot write over the other's work.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pymongo import ReplaceOne

from core.database import MongoDB, translate_mongo_error
from core.logger import logged_operation
from repositories.models import ChunkModel, ChunkResult, ChunkStatus, to_milliseconds, utc_now

# MongoDB takes documents of 16 MB and messages of 48 MB; chunks are small, but there can be many.
_INSERT_BATCH = 500


class ChunkRepository:
    """The `chunks` collection: one document per chunk, so that no array is updated in place.

    Every method may raise `DatabaseUnavailable` (retryable).
    """

    def __init__(self, database: MongoDB) -> None:
        self._chunks = database.get_collection("chunks")

    async def ensure_indexes(self) -> None:
        """Create the indexes that the queries below use; existing ones stay."""
        with logged_operation("create chunk indexes", translate=translate_mongo_error):
            await self._chunks.create_index([("job_id", 1), ("index", 1)], unique=True)
            await self._chunks.create_index([("job_id", 1), ("status", 1)])

    async def replace_chunks(self, job_id: str, chunks: Sequence[ChunkModel]) -> None:
        """Make these a job's chunks, in place of any from an earlier attempt."""
        with _operation("write chunks", job_id):
            await self._chunks.delete_many({"job_id": job_id})
            for at in range(0, len(chunks), _INSERT_BATCH):
                # Upserts, so that two consumers at the same stage do not trip over each other.
                batch = [
                    ReplaceOne({"_id": chunk.id}, chunk.to_dict(), upsert=True)
                    for chunk in chunks[at : at + _INSERT_BATCH]
                ]
                await self._chunks.bulk_write(batch, ordered=False)

    async def get_chunks(self, job_id: str) -> list[ChunkModel]:
        """Return a job's chunks in order."""
        with _operation("find chunks", job_id):
            cursor = self._chunks.find({"job_id": job_id}).sort([("index", 1)])
            return [ChunkModel.from_dict(document) async for document in cursor]

    async def claim(
        self, job_id: str, indexes: Sequence[int], lease_seconds: float
    ) -> list[ChunkModel]:
        """Take the chunks that nobody has finished or holds a lease on.

        Args:
            job_id: The job.
            indexes: Which of its chunks.
            lease_seconds: After this time others may take them.

        Returns:
            The chunks taken, in order, with the `attempt` to commit them under.
        """
        taken = []
        with _operation("claim chunks", job_id):
            for index in indexes:
                ended = {"status": ChunkStatus.RUNNING.value, "lease_until": {"$lt": _from_now(0)}}
                # Not `{_id, $or}`: in updates the embedded wire server reads that as one long "or".
                free = {
                    "$and": [
                        {"_id": ChunkModel.make_id(job_id, index)},
                        {"$or": [{"status": ChunkStatus.PENDING.value}, ended]},
                    ]
                }
                changes = {
                    "$set": {
                        "status": ChunkStatus.RUNNING.value,
                        "lease_until": _from_now(lease_seconds),
                    },
                    "$inc": {"attempt": 1},
                }
                document = await self._chunks.find_one_and_update(
                    free, changes, return_document=True
                )
                if document is not None:
                    taken.append(ChunkModel.from_dict(document))
        return taken

    async def commit(self, chunk: ChunkModel, result: ChunkResult) -> bool:
        """Store a chunk's result, if `chunk` (as claimed) is still ours.

        Returns:
            Whether it was stored; False means that another consumer has it, or it was deleted.
        """
        held = {"_id": chunk.id, "attempt": chunk.attempt, "status": ChunkStatus.RUNNING.value}
        changes = {
            "status": ChunkStatus.DONE.value,
            "lease_until": None,
            **result.to_dict(),
        }
        with _operation("commit chunk", chunk.job_id):
            updated = await self._chunks.update_one(held, {"$set": changes})
        return updated.matched_count == 1

    async def renew(self, chunks: Sequence[ChunkModel], lease_seconds: float) -> None:
        """Extend the leases of claimed chunks; those lost or finished stay as they are."""
        for chunk in chunks:
            held = {"_id": chunk.id, "attempt": chunk.attempt, "status": ChunkStatus.RUNNING.value}
            changes = {"lease_until": _from_now(lease_seconds)}
            with _operation("renew lease", chunk.job_id):
                await self._chunks.update_one(held, {"$set": changes})

    async def release(self, chunks: Sequence[ChunkModel]) -> None:
        """Give back claimed chunks that were not finished, for another attempt."""
        for chunk in chunks:
            held = {"_id": chunk.id, "attempt": chunk.attempt, "status": ChunkStatus.RUNNING.value}
            changes = {"status": ChunkStatus.PENDING.value, "lease_until": None}
            with _operation("release chunk", chunk.job_id):
                await self._chunks.update_one(held, {"$set": changes})

    async def count(self, job_id: str, status: ChunkStatus | None = None) -> int:
        """Return how many chunks a job has, in one state or in all."""
        query = {"job_id": job_id} | ({} if status is None else {"status": status.value})
        with _operation("count chunks", job_id):
            return int(await self._chunks.count_documents(query))

    async def count_unfinished(self, job_id: str, indexes: Sequence[int]) -> int:
        """Return how many of these chunks exist and are not done."""
        ids = [ChunkModel.make_id(job_id, index) for index in indexes]
        query = {"_id": {"$in": ids}, "status": {"$ne": ChunkStatus.DONE.value}}
        with _operation("count unfinished chunks", job_id):
            return int(await self._chunks.count_documents(query))

    async def delete_chunks(self, job_id: str) -> int:
        """Remove a job's chunks; returns how many there were."""
        with _operation("delete chunks", job_id):
            result = await self._chunks.delete_many({"job_id": job_id})
        return int(result.deleted_count)


def _from_now(seconds: float) -> int:
    return to_milliseconds(utc_now()) + round(seconds * 1000)


def _operation(name: str, job_id: str) -> Any:
    return logged_operation(name, translate=translate_mongo_error, quiet=True, job_id=job_id)
