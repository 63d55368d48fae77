"""One search: from the newest transcripts that may have what is searched for to older ones."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from core.errors import InvalidInput
from repositories.models import JobModel
from repositories.segment_repository import Place, Posting, Segment, SegmentRepository, place_of
from repositories.task_repository import TaskRepository
from services.search_terms import Query

# So many are looked at in one go: a common word fills a page at once, a rare one is far between.
_FEW_TASKS, _MANY_TASKS = 8, 64
_FEW_TEXTS, _MANY_TEXTS = 20, 100
# So much is looked at for one page, which is then as full as it is.
_MOST_TASKS = 2_000
_MOST_TEXTS = 5_000
_CURSOR = re.compile(r"([0-9]{15}\.[^/]{1,64})/([0-9]{1,9})?")


@dataclass(frozen=True)
class SearchFilter:
    """Where is searched; None is everywhere.

    Attributes:
        task_id: In this task.
        language: In transcripts in this language.
        speaker: In what the speaker of this id or name says.
        file_name: In recordings with this in their name, in capitals or not.
        created_after: In tasks created at this moment or later.
        created_before: In tasks created before this moment.
    """

    task_id: str | None = None
    language: str | None = None
    speaker: str | None = None
    file_name: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None

    def wants_task(self, job: JobModel) -> bool:
        """Whether a job's transcript is searched."""
        after, before = self.created_after, self.created_before
        language = job.result.language if job.result else None
        return (
            (after is None or job.created_at >= after)
            and (before is None or job.created_at < before)
            and (self.language is None or language == self.language)
            and (self.file_name is None or _has(job.source.file_name, self.file_name))
        )

    def wants_speaker(self, speaker: str | None, label: str | None) -> bool:
        """Whether what a speaker says is searched."""
        if self.speaker is None or self.speaker == speaker:
            return True
        return label is not None and label.casefold() == self.speaker.casefold()


@dataclass(frozen=True)
class Hit:
    """A segment in which a query occurs.

    Attributes:
        job: Whose.
        number: Its id in the transcript.
        segment: Its text, times and speaker.
        label: What readers call the speaker; None where nobody is known to talk.
        matches: Where in the text the words are, `[start, end)` in code points, in order.
    """

    job: JobModel
    number: int
    segment: Segment
    label: str | None
    matches: list[tuple[int, int]]


@dataclass(frozen=True)
class Cursor:
    """The place behind a segment of a job, or with None behind all of its segments."""

    at: str
    number: int | None

    def __str__(self) -> str:
        return f"{self.at}/{'' if self.number is None else self.number}"

    @classmethod
    def read(cls, text: str) -> Cursor:
        """Return the place that a text names, as `str` makes it.

        Raises:
            InvalidInput: It names none (code `invalid_cursor`).
        """
        found = _CURSOR.fullmatch(text)
        if found is None:
            raise InvalidInput(
                "The cursor is not valid. Use `next_cursor` of the page before.",
                code="invalid_cursor",
            )
        return cls(found[1], None if found[2] is None else int(found[2]))

    def is_before(self, at: str, number: int) -> bool:
        """Whether a segment comes later: those of older jobs do."""
        return at < self.at or (at == self.at and self.number is not None and number > self.number)


@dataclass(frozen=True)
class _Candidate:
    """A segment that has the words one by one. Whether it has the phrases, its text says."""

    job: JobModel
    at: str
    place: Place


class Walk:
    """One search, which goes along the transcripts with the rarest word.

    Attributes:
        tasks: How many it has come by.
        texts: How many segments it has looked at.
        reached: Where it was broken off; None at the end.
    """

    def __init__(
        self,
        jobs: TaskRepository,
        segments: SegmentRepository,
        owner: str,
        query: Query,
        where: SearchFilter,
        after: Cursor | None,
    ) -> None:
        self._jobs = jobs
        self._segments = segments
        self._owner = owner
        self._query = query
        self._where = where
        self._after = after
        self.tasks = self.texts = 0
        self.reached: Cursor | None = None

    async def collect(self, most: int) -> list[Hit]:
        """Return the next hits, at most so many; fewer where too much would have to be read."""
        hits: list[Hit] = []
        tasks_at_once, texts_at_once = _FEW_TASKS, min(max(most, _FEW_TEXTS), _MANY_TEXTS)
        rarest, postings = await self._first_postings(tasks_at_once)
        while postings:
            self.tasks += len(postings)
            candidates = await self._candidates(rarest, postings)
            while some := list(islice(candidates, texts_at_once)):
                hits += await self._hits(some)
                if len(hits) >= most:
                    return hits[:most]
                if self.texts >= _MOST_TEXTS:
                    self.reached = Cursor(some[-1].at, some[-1].place.number)
                    return hits
                texts_at_once = _MANY_TEXTS
            if self._where.task_id is not None or len(postings) < tasks_at_once:
                break
            if self.tasks >= _MOST_TASKS:
                self.reached = Cursor(postings[-1].at, None)
                break
            tasks_at_once = min(2 * tasks_at_once, _MANY_TASKS)
            postings = await self._postings(rarest, tasks_at_once, before=postings[-1].at)
        return hits

    async def _first_postings(self, limit: int) -> tuple[str, list[Posting]]:
        """Return the word that is rarest from here on, and where it is."""
        if self._where.task_id is not None:
            return self._query.lookups[0], await self._postings_of_task(self._where.task_id)
        before = self._where.created_before
        starts = [] if self._after is None else [self._after.at]
        starts += [] if before is None else [place_of(before)]
        found = {}
        for term in self._query.lookups:
            found[term] = await self._postings(term, limit, upto=min(starts, default=None))
            if not found[term]:
                break
        # Of two with equally many, the one that reaches further back with them.
        return min(found.items(), key=lambda item: (len(item[1]), [p.at for p in item[1][-1:]]))

    async def _postings(
        self, term: str, limit: int, *, upto: str | None = None, before: str | None = None
    ) -> list[Posting]:
        earliest = self._where.created_after
        return await self._segments.get_postings(
            self._owner,
            term,
            limit=limit,
            upto=upto,
            before=before,
            since=None if earliest is None else place_of(earliest),
        )

    async def _postings_of_task(self, task_id: str) -> list[Posting]:
        job = await self._jobs.get_job(task_id, self._owner)
        if job is None or job.indexed is None:
            return []
        transcript = (task_id, job.indexed)
        found = await self._segments.get_postings_of([transcript], self._query.lookups[:1])
        return found.get(transcript, [])

    async def _candidates(self, rarest: str, postings: Sequence[Posting]) -> Iterator[_Candidate]:
        """Return the segments of these transcripts that have the other words too, in order."""
        others = [term for term in self._query.lookups if term != rarest]
        transcripts = [(posting.job_id, posting.version) for posting in postings]
        beside = await self._segments.get_postings_of(transcripts, others)
        common: list[tuple[Posting, list[int]]] = []
        for posting in postings:
            found = beside.get((posting.job_id, posting.version), [])
            if len(found) == len(others):
                numbers = set(posting.segments).intersection(*(other.segments for other in found))
                common.append((posting, sorted(numbers)))
        ids = {posting.job_id for posting, numbers in common if numbers}
        jobs = await self._jobs.get_jobs(self._owner, ids)
        return (
            _Candidate(job, posting.at, Place(job.id, posting.version, number))
            for posting, numbers in common
            if (job := jobs.get(posting.job_id)) is not None
            and job.indexed == posting.version
            and self._where.wants_task(job)
            for number in numbers
            if self._after is None or self._after.is_before(posting.at, number)
        )

    async def _hits(self, candidates: Sequence[_Candidate]) -> list[Hit]:
        """Return those in whose text all of the query occurs."""
        self.texts += len(candidates)
        texts = await self._segments.get_segments([candidate.place for candidate in candidates])
        hits = []
        for candidate in candidates:
            # One that is not there: the transcript has just been replaced, or deleted.
            if (segment := texts.get(candidate.place)) is not None:
                label = _label(candidate.job, segment.speaker)
                matches = self._query.find_in(segment.text)
                if matches and self._where.wants_speaker(segment.speaker, label):
                    number = candidate.place.number
                    hits.append(Hit(candidate.job, number, segment, label, matches))
        return hits


def _label(job: JobModel, speaker: str | None) -> str | None:
    """Return what readers call a speaker."""
    known = job.result.speakers if job.result else []
    labels = {found.id: found.label for found in known} | job.speaker_names
    return None if speaker is None else labels.get(speaker, speaker)


def _has(name: str, part: str) -> bool:
    return part.casefold() in name.casefold()
