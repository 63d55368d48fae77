"""What is there of a transcript before the rest: all from the start to the first open chunk."""

from __future__ import annotations

from dataclasses import dataclass

from repositories.chunk_repository import ChunkRepository
from repositories.models import ChunkStatus, JobModel, JobStatus
from services.merge_service import to_chunk, to_chunk_transcript
from worker.merger import ResultMerger
from worker.transcript import Segment

# A hundred chunks hold up to 50 minutes of speech.
_CHUNKS_AT_ONCE = 100


@dataclass(frozen=True)
class HeardSegment:
    """A segment of the growing transcript.

    Attributes:
        number: Its place in the transcript, from 0.
        segment: The words, with no speakers yet.
        firm: How many segments, up to this one, stand before the first gap.
    """

    number: int
    segment: Segment
    firm: int


class SegmentReader:
    """Reads the segments of one attempt at a job once, in order, as its chunks are finished.

    What it returns never changes: chunks that are still open add to it at its end.
    """

    def __init__(self, chunks: ChunkRepository) -> None:
        self._chunks = chunks
        self._merger = ResultMerger()
        self._next_chunk = 0
        self._count = 0
        self._end = 0.0
        self._before_gap: int | None = None

    async def read(self, job: JobModel) -> tuple[list[HeardSegment], bool]:
        """Return what is new, and whether there may be more to be read at once.

        Of a completed job, this is all, whatever its chunks say.

        Raises:
            DatabaseUnavailable: MongoDB cannot be reached (retryable; nothing is skipped then).
        """
        if job.duration is None:  # not cut into chunks yet
            return [], False
        all_of_it = job.status is JobStatus.COMPLETED
        documents = await self._chunks.get_chunks_from(
            job.id, self._next_chunk, _CHUNKS_AT_ONCE, settled=not all_of_it
        )
        found: list[HeardSegment] = []
        for document in documents:
            is_open = document.status is ChunkStatus.PENDING
            if document.index != self._next_chunk or (is_open and not all_of_it):
                return found, False
            result = to_chunk_transcript(document, job.options.language)
            if is_open or result.failure is not None:
                self._before_gap = self._count if self._before_gap is None else self._before_gap
            segments = self._merger.merge_chunk(
                to_chunk(document), result, after=self._end, duration=job.duration
            )
            found += [self._numbered(segment) for segment in segments]
            self._next_chunk += 1
        return found, len(documents) == _CHUNKS_AT_ONCE

    def _numbered(self, segment: Segment) -> HeardSegment:
        number, self._count, self._end = self._count, self._count + 1, segment.end
        firm = self._count if self._before_gap is None else self._before_gap
        return HeardSegment(number, segment, firm)
