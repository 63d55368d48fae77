"""Queries over units of work: the one place where it is decided who does what, and in which order.

A unit is claimed by compare-and-set under a lease, and belongs to the holder of its token until it
is finished, released, or its lease ends. Whatever a holder does to it names the token (the fence).
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any

from pymongo import UpdateOne

from core.clock import utc_now
from core.database import MongoDB, translate_mongo_error
from core.logger import logged_operation
from repositories.models import (
    EPOCH,
    JobError,
    UnitCreate,
    UnitModel,
    UnitState,
    to_milliseconds,
)

_FIRST = -1
_IN_ORDER = [("rank", 1), ("_id", 1)]


class UnitRepository:
    """The `units` collection: work that is still to be done, or being done.

    The order within a queue is start-time fair queueing (Goyal, Vin and Cheng, SIGCOMM 1996) over
    owners: each waits in line behind its own work only, and the lines are served in turn by the
    amount of audio. `fair_clocks` holds the queue's virtual time and the end of each owner's line.

    Every method can be run twice, and may raise `DatabaseUnavailable` (retryable).
    """

    def __init__(self, database: MongoDB) -> None:
        self._units = database.get_collection("units")
        self._clocks = database.get_collection("fair_clocks")

    async def ensure_indexes(self) -> None:
        """Create the indexes that the queries below use; existing ones stay."""
        with logged_operation("create unit indexes", translate=translate_mongo_error):
            await self._units.create_index([("queue", 1), ("state", 1), ("rank", 1)])
            await self._units.create_index([("state", 1), ("lease_until", 1)])
            await self._units.create_index([("job_id", 1)])

    async def add(self, owner: str, units: Sequence[UnitCreate]) -> list[UnitModel]:
        """Add units at the end of their owner's line; those that are there already stay.

        Those without cost come before everything else.

        Returns:
            All of them, as they are now.
        """
        with _operation("add units"):
            # Looked for first: asking again for what waits already must not lengthen the line.
            cursor = self._units.find({"_id": {"$in": [create.id for create in units]}})
            there = {document["_id"]: UnitModel.from_dict(document) async for document in cursor}
            new = [create for create in units if create.id not in there]
            ends = {queue: await self._reserve(owner, queue, new) for queue in _queues(new)}
            writes = []
            for create in new:
                cost = _cost(create)
                unit = UnitModel(**create.model_dump(), rank=ends[create.queue] if cost else _FIRST)
                ends[create.queue] += cost
                there[unit.id] = unit
                document = unit.to_dict()
                own_id = {"_id": document.pop("_id")}
                writes.append(UpdateOne(own_id, {"$setOnInsert": document}, upsert=True))
            if writes:
                await self._units.bulk_write(writes, ordered=True)
        return [there[create.id] for create in units]

    async def claim(self, queues: Sequence[str], lease_seconds: float) -> UnitModel | None:
        """Take the first unit that can be done now, None if there is none.

        Args:
            queues: Where to look, the preferred queue first.
            lease_seconds: After this time without `renew` others may take it.
        """
        for queue in queues:
            now = utc_now()
            free = {
                "queue": queue,
                "state": UnitState.OPEN.value,
                "not_before": {"$lte": to_milliseconds(now)},
            }
            changes = {
                "$set": {
                    "state": UnitState.RUNNING.value,
                    "holder": uuid.uuid4().hex,
                    "lease_until": to_milliseconds(now + timedelta(seconds=lease_seconds)),
                },
                "$inc": {"attempt": 1},
            }
            with _operation("claim unit"):
                document = await self._units.find_one_and_update(
                    free, changes, sort=_IN_ORDER, return_document=True
                )
                if document is None:
                    continue
                unit = UnitModel.from_dict(document)
                await self._clocks.update_one(
                    {"_id": queue}, {"$max": {"at": unit.rank}}, upsert=True
                )
            return unit
        return None

    async def renew(self, unit: UnitModel, lease_seconds: float) -> bool:
        """Extend our lease; False if the unit is no longer ours, or no longer there."""
        until = to_milliseconds(utc_now() + timedelta(seconds=lease_seconds))
        return await self._change(unit, {"$set": {"lease_until": until}})

    async def release(
        self,
        unit: UnitModel,
        *,
        not_before: datetime = EPOCH,
        failures: int | None = None,
        error: JobError | None = None,
        chunks: Sequence[int] | None = None,
    ) -> bool:
        """Give a unit back, for others to claim; False if it was no longer ours.

        Args:
            unit: As claimed.
            not_before: When it may be claimed.
            failures: The new count of failed attempts; as it was where omitted.
            error: Why this attempt failed.
            chunks: What is left of its chunks; as they were where omitted.
        """
        changes: dict[str, Any] = {
            "state": UnitState.OPEN.value,
            "holder": None,
            "not_before": to_milliseconds(not_before),
        }
        if failures is not None:
            changes["failures"] = failures
        if error is not None:
            changes["last_error"] = error.to_dict()
        if chunks is not None:
            changes |= {"chunks": list(chunks), "crashes": 0}
        return await self._change(unit, {"$set": changes})

    async def finish(self, unit: UnitModel) -> bool:
        """Remove a unit that is done; False if it was no longer ours."""
        with _operation("finish unit", unit.job_id):
            result = await self._units.delete_one({"_id": unit.id, "holder": unit.holder})
        return result.deleted_count == 1

    async def expire_leases(self) -> int:
        """Open the units whose holders vanished; returns how many there were."""
        ended = {
            "state": UnitState.RUNNING.value,
            "lease_until": {"$lt": to_milliseconds(utc_now())},
        }
        changes = {
            "$set": {"state": UnitState.OPEN.value, "holder": None, "not_before": 0},
            "$inc": {"crashes": 1},
        }
        with _operation("expire leases"):
            result = await self._units.update_many(ended, changes)
        return int(result.modified_count)

    async def get_claimable(self, queue: str, limit: int) -> list[UnitModel]:
        """Return the units of a queue that can be done now, in order."""
        query = {
            "queue": queue,
            "state": UnitState.OPEN.value,
            "not_before": {"$lte": to_milliseconds(utc_now())},
        }
        with _operation("find claimable units"):
            cursor = self._units.find(query).sort(_IN_ORDER).limit(limit)
            return [UnitModel.from_dict(document) async for document in cursor]

    async def get_units(self, job_id: str) -> list[UnitModel]:
        """Return what there is to do for a job."""
        with _operation("find units", job_id):
            cursor = self._units.find({"job_id": job_id}).sort([("_id", 1)])
            return [UnitModel.from_dict(document) async for document in cursor]

    async def jobs_without_units(self, job_ids: Collection[str]) -> set[str]:
        """Return those of these jobs for which nothing is to be done or being done."""
        # Not `distinct`: for the embedded wire server, ids of digits would be numbers.
        match, group = {"job_id": {"$in": list(job_ids)}}, {"_id": "$job_id"}
        with _operation("find jobs with units"):
            found = self._units.aggregate([{"$match": match}, {"$group": group}])
            busy = {entry["_id"] async for entry in found}
        return set(job_ids) - busy

    async def count(self) -> dict[tuple[str, UnitState], int]:
        """Return how many units there are, by queue and state."""
        # A query for each state: the embedded wire server groups by one field.
        group = {"_id": "$queue", "count": {"$sum": 1}}
        counts: dict[tuple[str, UnitState], int] = {}
        with _operation("count units"):
            for state in UnitState:
                found = self._units.aggregate(
                    [{"$match": {"state": state.value}}, {"$group": group}]
                )
                counts |= {(entry["_id"], state): entry["count"] async for entry in found}
        return counts

    async def delete_units(self, job_id: str) -> int:
        """Remove whatever is to be done for a job: those who are at it notice and stop."""
        with _operation("delete units", job_id):
            result = await self._units.delete_many({"job_id": job_id})
        return int(result.deleted_count)

    async def _change(self, unit: UnitModel, changes: dict[str, Any]) -> bool:
        with _operation("change unit", unit.job_id):
            held = {"_id": unit.id, "holder": unit.holder}
            result = await self._units.update_one(held, changes)
        return result.matched_count == 1

    async def _reserve(self, owner: str, queue: str, units: Sequence[UnitCreate]) -> int:
        """Return the end of an owner's line in a queue, and move it behind these units."""
        cost = sum(_cost(unit) for unit in units if unit.queue == queue)
        if cost == 0:
            return 0
        clock = await self._clocks.find_one({"_id": queue})
        line = {"_id": f"{queue}/{owner}"}
        # A line that was empty for a while begins at the present, not in the past.
        await self._clocks.update_one(line, {"$max": {"end": clock["at"] if clock else 0}}, True)
        before = await self._clocks.find_one_and_update(line, {"$inc": {"end": cost}})
        return int(before["end"]) if before else 0


def _queues(units: Sequence[UnitCreate]) -> set[str]:
    return {unit.queue for unit in units}


def _cost(unit: UnitCreate) -> int:
    return round(unit.cost_seconds * 1000)


def _operation(name: str, job_id: str | None = None) -> Any:
    fields = {} if job_id is None else {"job_id": job_id}
    return logged_operation(name, translate=translate_mongo_error, quiet=True, **fields)
