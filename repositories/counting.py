"""Counting documents, as both kinds of server do it quickly."""

from __future__ import annotations

from typing import Any

from core.database import Collection


async def count(collection: Collection, query: dict[str, Any]) -> int:
    """Return how many documents match.

    By finding them, without their contents: for `count_documents` the embedded wire server reads
    the whole collection (among 20,000 documents, 900 ms against 2 ms). For counts of up to some
    thousands.
    """
    return len(await collection.find(query, {"_id": 1}).to_list(None))
