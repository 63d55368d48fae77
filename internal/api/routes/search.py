"""Search: who said it, in which recording, and when."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Self

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, Field

from internal.api.dependencies import ContainerDep, OwnerDep
from internal.api.filters import TaskQuery
from internal.api.responses import errors
from services.search_service import SearchService
from services.search_terms import LONGEST_QUERY
from services.search_walk import Hit, SearchFilter

router = APIRouter(prefix="/api/v1/search", tags=["search"])


class SearchQuery(TaskQuery):
    """What is searched for, and where."""

    q: str = Field(
        description='Words, and "phrases" in quotation marks, which all have to occur in a '
        f"segment. At most {LONGEST_QUERY} characters.",
        examples=["budget meeting"],
    )
    task_id: str | None = Field(None, description="In this task alone.", max_length=64)
    speaker: str | None = Field(
        None,
        description="Said by the speaker of this id or name.",
        examples=["Laura"],
        max_length=100,
    )
    limit: int = Field(20, ge=1, le=100)

    @property
    def where(self) -> SearchFilter:
        """Where is searched, for the service."""
        return SearchFilter(
            task_id=self.task_id,
            language=self.language,
            speaker=self.speaker,
            file_name=self.file_name,
            created_after=self.created_after,
            created_before=self.created_before,
        )


class SearchHitOut(BaseModel):
    """A segment in which the query occurs."""

    task_id: str
    file_name: str = Field(examples=["interview.mp3"])
    created_at: datetime = Field(description="When the recording was uploaded.")
    segment_id: int = Field(description="The segment's `id` in the transcript.", examples=[3])
    start: float = Field(description="Seconds from the start of the recording.", examples=[7.42])
    end: float = Field(examples=[9.08])
    speaker: str | None = Field(None, examples=["SPEAKER_00"])
    speaker_label: str | None = Field(None, examples=["Laura"])
    text: str = Field(examples=["Good morning everyone."])
    matches: list[tuple[int, int]] = Field(
        description="Where in `text` the words are: from and up to which character, counted in "
        "Unicode code points from 0.",
        examples=[[[5, 12]]],
    )

    @classmethod
    def of(cls, hit: Hit) -> Self:
        """Return a hit as clients see it."""
        return cls(
            task_id=hit.job.id,
            file_name=hit.job.source.file_name,
            created_at=hit.job.created_at,
            segment_id=hit.number,
            start=hit.segment.start,
            end=hit.segment.end,
            speaker=hit.segment.speaker,
            speaker_label=hit.label,
            text=hit.segment.text,
            matches=hit.matches,
        )


class SearchOut(BaseModel):
    """One page of hits: the newest task's first, and within a task in order of time."""

    hits: list[SearchHitOut]
    next_cursor: str | None = Field(
        None,
        description="Pass as `cursor` for the next page, even where this one has few hits.",
    )


async def get_search(container: ContainerDep) -> SearchService:
    """Return the use cases of searching."""
    return container.search


@router.get("", summary="Search transcripts", responses=errors(422, 503))
async def search(
    asked: Annotated[SearchQuery, Query()],
    service: Annotated[SearchService, Depends(get_search)],
    owner: OwnerDep,
) -> SearchOut:
    """Return the segments in which all words and "phrases" of the query occur.

    Capitals and accents do not count. A transcript can be searched a few seconds after its task is
    completed.
    """
    page = await service.search(owner, asked.q, asked.where, limit=asked.limit, cursor=asked.cursor)
    return SearchOut(hits=[SearchHitOut.of(hit) for hit in page.hits], next_cursor=page.next_cursor)
