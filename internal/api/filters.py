"""Which tasks: the query parameters that lists and searches have in common."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field

from repositories.models import JobStatus
from repositories.task_filter import TaskFilter

# A pattern that the database is given ends at a NUL.
NO_NUL = "^[^\\x00]*$"
_NUMBER = re.compile(r"\s*[-+]?[0-9._]+(e[-+]?[0-9]+)?\s*", re.IGNORECASE)


def _no_number(sent: Any) -> Any:
    """Refuse what would be read as seconds since 1970; a year alone means none of these."""
    if isinstance(sent, str) and _NUMBER.fullmatch(sent):
        raise ValueError("it has to be a date and a time, such as 2026-01-31T12:00:00Z")
    return sent


def _with_zone(moment: datetime) -> datetime:
    """Return a moment in the zone that it names, or else in UTC."""
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


Moment = Annotated[datetime, BeforeValidator(_no_number), AfterValidator(_with_zone)]


class TaskQuery(BaseModel):
    """Which tasks; all where nothing is given."""

    language: str | None = Field(
        None, description="With a transcript in this language.", examples=["en"], max_length=8
    )
    file_name: str | None = Field(
        None,
        description="With this in the recording's file name, in capitals or not.",
        min_length=1,
        max_length=255,
        pattern=NO_NUL,
    )
    created_after: Moment | None = Field(
        None,
        description="Uploaded at this moment or later (ISO 8601; in UTC if it names no zone).",
        examples=["2026-01-31T12:00:00Z"],
    )
    created_before: Moment | None = Field(None, description="Uploaded before this moment.")
    cursor: str | None = Field(
        None, description="`next_cursor` of the page before.", max_length=100
    )


class ListQuery(TaskQuery):
    """Which tasks are listed, and how."""

    status: JobStatus | None = Field(None, description="Only those in this state.")
    diarized: bool | None = Field(None, description="Whether the transcript says who speaks.")
    order: Literal["desc", "asc"] = Field("desc", description="Newest or oldest first.")
    limit: int = Field(50, ge=1, le=200)

    @property
    def which(self) -> TaskFilter:
        """The same, for the service."""
        return TaskFilter(
            status=self.status,
            created_after=self.created_after,
            created_before=self.created_before,
            language=self.language,
            file_name=self.file_name,
            diarized=self.diarized,
        )
