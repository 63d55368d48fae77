"""What every document in MongoDB has in common: its form there, and moments in time.

Times are UTC datetimes here and milliseconds since 1970 in the database: the embedded wire server
keeps dates of an insert, but turns those of an update into text (docs/decisions/0004).
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer


def to_milliseconds(moment: datetime) -> int:
    """Return a moment as the database keeps it."""
    return round(moment.timestamp() * 1000)


def from_milliseconds(value: Any) -> Any:
    """Return a kept moment as a UTC datetime; anything that is not a number as it is."""
    return datetime.fromtimestamp(value / 1000, UTC) if isinstance(value, int) else value


Moment = Annotated[
    datetime, BeforeValidator(from_milliseconds), PlainSerializer(to_milliseconds, return_type=int)
]

EPOCH = datetime.fromtimestamp(0, UTC)


class Document(BaseModel):
    """A value stored in MongoDB; unknown fields of newer versions are ignored."""

    model_config = ConfigDict(extra="ignore")

    def to_dict(self) -> dict[str, Any]:
        """Return the MongoDB form (`id` becomes `_id`, enums their values)."""
        document = self.model_dump(mode="python")
        if "id" in document:
            document["_id"] = document.pop("id")
        return dict(plain(document))

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> Self:
        """Return the value of a MongoDB document."""
        values = dict(document)
        if "_id" in values:
            values["id"] = values.pop("_id")
        return cls.model_validate(values)


def plain(value: Any) -> Any:
    """Return a value with its enums replaced by their values."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, StrEnum):
        return value.value
    return value
