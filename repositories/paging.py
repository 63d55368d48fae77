"""Lists in pages, newest first: where a page starts is where the one before ended."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar

from core.errors import InvalidInput
from repositories.document import to_milliseconds

NEWEST_FIRST = [("created_at", -1), ("_id", -1)]


class _Listed(Protocol):
    id: str
    created_at: datetime


T = TypeVar("T", bound=_Listed)


@dataclass(frozen=True)
class Page(Generic[T]):
    """Some documents, newest first, and where the next page starts (None after the last)."""

    items: list[T]
    next_cursor: str | None

    @classmethod
    def of(cls, found: list[T], limit: int) -> Page[T]:
        """Return the page of what was found by asking for one more than its `limit`."""
        if len(found) <= limit:
            return cls(found, None)
        last = found[limit - 1]
        return cls(found[:limit], make_cursor(last.created_at, last.id))


def make_cursor(created_at: datetime, document_id: str) -> str:
    """Return what names the place behind a document in the order `NEWEST_FIRST`."""
    return f"{to_milliseconds(created_at)}.{document_id}"


def after(cursor: str | None) -> dict[str, Any]:
    """Return the query for what comes behind a cursor; None is the beginning.

    Raises:
        InvalidInput: It is not one that `make_cursor` returned.
    """
    if cursor is None:
        return {}
    created_at, document_id = read_cursor(cursor)
    return {
        "$or": [
            {"created_at": {"$lt": created_at}},
            {"created_at": created_at, "_id": {"$lt": document_id}},
        ]
    }


def read_cursor(cursor: str) -> tuple[int, str]:
    """Return the moment and the id that a cursor names.

    Raises:
        InvalidInput: It is not one that `make_cursor` returned.
    """
    milliseconds, _, document_id = cursor.partition(".")
    if not re.fullmatch("[0-9]{1,15}", milliseconds) or not document_id:
        raise InvalidInput(
            "The cursor is not valid. Use `next_cursor` of the page before.", code="invalid_cursor"
        )
    return int(milliseconds), document_id
