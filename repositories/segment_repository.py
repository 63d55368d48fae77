"""Queries over what can be searched for: who says which words, in which segment of which job.

An inverted index of our own: the embedded wire server looks through every document for a member of
an array, and its `$text` is not MongoDB's. For each word of a transcript there is one posting with
the numbers of the segments that have it; their texts stand in stretches of `STRETCH` segments.

Everything of one transcript carries its version, and nothing is changed once written: a new version
is written beside the old one, the job's `indexed` is moved to it, and the old one is removed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from pymongo import WriteConcern
from pymongo.errors import BulkWriteError

from core.database import Collection as Documents
from core.database import Document, MongoDB, translate_mongo_error
from core.logger import logged_operation
from repositories.models import to_milliseconds

STRETCH = 50
# The embedded wire server serves nobody else while it writes a batch.
_INSERT_BATCH = 200
_DUPLICATE = 11000


@dataclass(frozen=True)
class Segment:
    """A segment of a transcript; times in seconds from the start of the recording."""

    start: float
    end: float
    speaker: str | None
    text: str


@dataclass(frozen=True)
class Indexed:
    """A transcript in the index.

    Attributes:
        owner: Whose.
        job_id: Of which job.
        version: Which transcript of that job.
        at: Its place among all jobs, by `place_of`.
    """

    owner: str
    job_id: str
    version: str
    at: str


@dataclass(frozen=True)
class Posting:
    """That a transcript has a word, and in which of its segments, by their numbers in order."""

    job_id: str
    version: str
    at: str
    segments: tuple[int, ...]


@dataclass(frozen=True)
class Place:
    """Where a segment is: the number counts from 0 within a version of a job's transcript."""

    job_id: str
    version: str
    number: int


def place_of(created_at: datetime, job_id: str = "") -> str:
    """Return a text by which jobs are ordered by creation; without an id, the first place then."""
    return f"{to_milliseconds(created_at):015}.{job_id}"


class SegmentRepository:
    """The `postings` and `segments` collections.

    Every method can be run twice, and may raise `DatabaseUnavailable` (retryable).
    """

    def __init__(self, database: MongoDB) -> None:
        # Not synced to disk one by one: the job's `indexed`, which is, comes after them in the
        # journal, and without it nothing counts.
        quick = WriteConcern(w=1)
        self._postings = database.get_collection("postings").with_options(write_concern=quick)
        self._segments = database.get_collection("segments").with_options(write_concern=quick)

    async def ensure_indexes(self) -> None:
        """Create the indexes that the queries below use; existing ones stay."""
        with logged_operation("create search indexes", translate=translate_mongo_error):
            await self._postings.create_index([("owner", 1), ("term", 1), ("at", -1)])
            await self._postings.create_index([("job_id", 1)])
            await self._segments.create_index([("job_id", 1)])

    async def add(
        self,
        entry: Indexed,
        segments: Sequence[Segment],
        numbers_by_term: Mapping[str, Sequence[int]],
    ) -> None:
        """Write a transcript's segments, and in which of them each word is."""
        of_entry = {"job_id": entry.job_id, "version": entry.version}
        stretches = (
            {
                "_id": f"{entry.job_id}:{entry.version}:{at // STRETCH}",
                "segments": [asdict(segment) for segment in segments[at : at + STRETCH]],
                **of_entry,
            }
            for at in range(0, len(segments), STRETCH)
        )
        postings = (
            {
                "_id": f"{entry.job_id}:{entry.version}:{term}",
                "owner": entry.owner,
                "term": term,
                "at": entry.at,
                # A text: the embedded wire server takes its time over each member of an array.
                "segments": " ".join(map(str, numbers)),
                **of_entry,
            }
            for term, numbers in numbers_by_term.items()
        )
        with _operation("write segments", entry.job_id):
            await _insert(self._segments, list(stretches))
            await _insert(self._postings, list(postings))

    async def get_postings(
        self,
        owner: str,
        term: str,
        *,
        limit: int,
        upto: str | None = None,
        since: str | None = None,
        before: str | None = None,
    ) -> list[Posting]:
        """Return which of an owner's transcripts have a word, the newest job's first.

        Args:
            owner: Whose.
            term: The word.
            limit: At most so many.
            upto: Only from this place on, older ones.
            since: Only at this place or newer.
            before: Only older than this place.
        """
        at = {"$lte": upto, "$gte": since, "$lt": before}
        bounds = {operator: value for operator, value in at.items() if value is not None}
        # `$eq`: for a plain value, the embedded wire server looks into every document for arrays.
        query: dict[str, Any] = {"owner": {"$eq": owner}, "term": {"$eq": term}}
        if bounds:
            query["at"] = bounds
        with _operation("find postings"):
            cursor = self._postings.find(query).sort([("at", -1)]).limit(limit)
            return [_posting(document) async for document in cursor]

    async def get_postings_of(
        self, transcripts: Collection[tuple[str, str]], terms: Collection[str]
    ) -> dict[tuple[str, str], list[Posting]]:
        """Return the postings of some words in some transcripts, each a job's id and a version."""
        ids = [f"{job_id}:{version}:{term}" for job_id, version in transcripts for term in terms]
        found: dict[tuple[str, str], list[Posting]] = {}
        with _operation("find postings of jobs"):
            if ids:
                async for document in self._postings.find({"_id": {"$in": ids}}):
                    posting = _posting(document)
                    found.setdefault((posting.job_id, posting.version), []).append(posting)
        return found

    async def get_segments(self, places: Iterable[Place]) -> dict[Place, Segment]:
        """Return the segments at these places that are still there."""
        wanted: dict[str, list[Place]] = {}
        for place in places:
            stretch = f"{place.job_id}:{place.version}:{place.number // STRETCH}"
            wanted.setdefault(stretch, []).append(place)
        found: dict[Place, Segment] = {}
        with _operation("find segments"):
            if wanted:
                async for document in self._segments.find({"_id": {"$in": list(wanted)}}):
                    for place in wanted[document["_id"]]:
                        values = document["segments"][place.number % STRETCH]
                        found[place] = Segment(**values)
        return found

    async def get_versions(self, job_id: str) -> set[str]:
        """Return which of a job's transcripts have segments here, whole or in part."""
        query = {"job_id": {"$eq": job_id}}
        with _operation("find versions", job_id):
            found = self._segments.find(query, {"version": 1})
            return {document["version"] async for document in found}

    async def delete(self, job_id: str, version: str | None = None) -> None:
        """Remove what there is of a job, or of one of its transcripts."""
        query: dict[str, Any] = {"job_id": {"$eq": job_id}}
        if version is not None:
            query["version"] = {"$eq": version}
        with _operation("delete segments", job_id):
            await self._postings.delete_many(query)
            await self._segments.delete_many(query)


async def _insert(collection: Documents, documents: Sequence[Document]) -> None:
    """Insert documents; those that are there already, being the same, stay."""
    for at in range(0, len(documents), _INSERT_BATCH):
        try:
            await collection.insert_many(documents[at : at + _INSERT_BATCH], ordered=False)
        except BulkWriteError as error:
            problems = error.details.get("writeErrors", []) if error.details else []
            if not problems or any(found["code"] != _DUPLICATE for found in problems):
                raise


def _posting(document: Document) -> Posting:
    numbers = tuple(map(int, document["segments"].split()))
    return Posting(document["job_id"], document["version"], document["at"], numbers)


def _operation(name: str, job_id: str | None = None) -> Any:
    fields = {} if job_id is None else {"job_id": job_id}
    return logged_operation(name, translate=translate_mongo_error, quiet=True, **fields)
