"""Which jobs a list holds."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from repositories.document import to_milliseconds
from repositories.models import DiarizationState, JobStatus
from repositories.paging import Bounds


@dataclass(frozen=True)
class TaskFilter:
    """Which jobs; None is all.

    Attributes:
        status: In this state.
        created_after: Created at this moment or later.
        created_before: Created before this moment.
        language: With a transcript in this language.
        file_name: With this in the name of the recording, in capitals or not.
        diarized: Whether the transcript says who speaks.
    """

    status: JobStatus | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    language: str | None = None
    file_name: str | None = None
    diarized: bool | None = None

    def to_query(self, owner: str) -> dict[str, Any]:
        """Return the MongoDB query for an owner's jobs, but for the moment of creation."""
        # `$eq`: for a plain value, the embedded wire server looks into every document for arrays.
        query: dict[str, Any] = {"owner": {"$eq": owner}}
        if self.status is not None:
            query["status"] = {"$eq": self.status.value}
        if self.language is not None:
            query["result.language"] = {"$eq": self.language}
        if self.file_name is not None:
            query["source.file_name"] = {"$regex": re.escape(self.file_name), "$options": "i"}
        if self.diarized is not None:
            operator = "$eq" if self.diarized else "$ne"
            query["diarization.state"] = {operator: DiarizationState.DONE.value}
        return query

    def created_bounds(self) -> Bounds:
        """Return the bounds of the moment of creation, as MongoDB operators."""
        after, before = self.created_after, self.created_before
        return ({} if after is None else {"$gte": to_milliseconds(after)}) | (
            {} if before is None else {"$lt": to_milliseconds(before)}
        )


EVERY_TASK = TaskFilter()
