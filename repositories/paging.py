"""Lists in pages, in the order in which things were made: a page starts where one before ended."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, Protocol, Self, TypeVar

from core.database import Collection
from core.errors import InvalidInput
from repositories.document import to_milliseconds

# `$gte` and `$lt`, of the moment at which documents were made.
Bounds = dict[str, int]
_Order = list[tuple[str, int]]

NEWEST_FIRST: _Order = [("created_at", -1), ("_id", -1)]
_OLDEST_FIRST: _Order = [("created_at", 1), ("_id", 1)]


class _Listed(Protocol):
    id: str
    created_at: datetime

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> Self: ...


T = TypeVar("T", bound=_Listed)


@dataclass(frozen=True)
class Page(Generic[T]):
    """Some documents in order, and where the next page starts (None after the last)."""

    items: list[T]
    next_cursor: str | None


async def find_page(
    collection: Collection,
    kind: type[T],
    query: dict[str, Any],
    *,
    limit: int,
    cursor: str | None,
    bounds: Bounds | None = None,
    oldest_first: bool = False,
) -> Page[T]:
    """Return one page of the documents that match.

    A cursor is a place among all documents: for another query, or in the other order, it is the
    same place.

    Args:
        collection: Where they are.
        kind: What they are.
        query: Which of them, whenever they were made.
        limit: The most returned.
        cursor: Where the page starts: the `next_cursor` of another; None is the beginning.
        bounds: Which of them, by when they were made.
        oldest_first: Instead of newest first.

    Raises:
        InvalidInput: The cursor is not one that this function returned.
    """
    bounds = bounds or {}
    order = _OLDEST_FIRST if oldest_first else NEWEST_FIRST
    found: list[T] = []
    if cursor is not None:
        # Two queries instead of an `$or`, for which the embedded wire server reads every document.
        moment, last_id = _read_cursor(cursor)
        if _is_within(moment, bounds):
            same = await _find(collection, kind, query | {"created_at": {"$eq": moment}}, order, 0)
            found = [
                one for one in same if (one.id > last_id if oldest_first else one.id < last_id)
            ]
        bounds = _beyond(moment, bounds, oldest_first=oldest_first)
    missing = limit + 1 - len(found)
    if missing > 0:
        others = query | ({"created_at": bounds} if bounds else {})
        found += await _find(collection, kind, others, order, missing)
    last = found[limit - 1] if len(found) > limit else None
    return Page(found[:limit], None if last is None else _make_cursor(last))


async def _find(
    collection: Collection, kind: type[T], query: dict[str, Any], order: _Order, limit: int
) -> list[T]:
    cursor = collection.find(query).sort(order).limit(limit)
    return [kind.from_dict(document) async for document in cursor]


def _is_within(moment: int, bounds: Bounds) -> bool:
    return bounds.get("$gte", moment) <= moment < bounds.get("$lt", moment + 1)


def _beyond(moment: int, bounds: Bounds, *, oldest_first: bool) -> Bounds:
    """Return bounds narrowed to what is behind a moment."""
    if oldest_first:
        return bounds | {"$gte": max(bounds.get("$gte", 0), moment + 1)}
    return bounds | {"$lt": min(bounds.get("$lt", moment), moment)}


def _make_cursor(last: _Listed) -> str:
    return f"{to_milliseconds(last.created_at)}.{last.id}"


def _read_cursor(cursor: str) -> tuple[int, str]:
    milliseconds, _, document_id = cursor.partition(".")
    if not re.fullmatch("[0-9]{1,15}", milliseconds) or not document_id:
        raise InvalidInput(
            "The cursor is not valid. Use `next_cursor` of the page before.", code="invalid_cursor"
        )
    return int(milliseconds), document_id
