"""Jobs with some history behind them, and a look at the queues."""

from __future__ import annotations

import io
import json
import wave
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import redis
from rq import Queue
from rq.serializers import JSONSerializer

from core.messaging import QUEUES, SPEECH_QUEUE
from internal.container import Container
from repositories.models import (
    ChunkModel,
    ChunkResult,
    ChunkStatus,
    DiarizationModel,
    JobError,
    JobModel,
    JobOptions,
    JobStatus,
    Progress,
    Result,
    Source,
    SpeakerModel,
    Stage,
    UnitKind,
    UnitModel,
)
from services.dispatcher import SERVED
from worker.diarizer import SpeakerHints
from worker.diarizer_process import OnProgress
from worker.known_voices import KnownVoices
from worker.transcript import Diarization, SpeakerTurn, VoiceMatch

JOB = "job-1"
US = "us"  # the token of our claim
THE_PAST = datetime(2024, 2, 29, 23, 59, 59, 999_000, tzinfo=UTC)
FAR_OFF = datetime(2124, 2, 29, tzinfo=UTC)
CRASHED = JobError(code="engine_failed", message="whisper-cli crashed.", retryable=True)
# Two chunks of ten seconds, with two words each.
TEXTS = [["Good", "morning."], ["Thank", "you."]]
DURATION = 20.0
ANN_THEN_BO = [SpeakerTurn(0.0, 10.0, "ann"), SpeakerTurn(10.0, 20.0, "bo")]


@dataclass(frozen=True)
class Queued:
    """A call as it lies on a queue."""

    id: str
    queue: str
    function: str
    arguments: list[Any]
    timeout_seconds: int


@dataclass(frozen=True)
class Queues:
    """What RQ itself sees of the queues."""

    client: redis.Redis

    def all(self) -> list[Queued]:
        found = []
        for name in QUEUES:
            queue = Queue(name, connection=self.client, serializer=JSONSerializer)
            for job_id in queue.job_ids:
                job = queue.fetch_job(job_id)
                found.append(Queued(job_id, name, job.func_name, job.args, job.timeout))
        return found

    def ids(self) -> list[str]:
        return [call.id for call in self.all()]


async def stored(parts: Container, job_id: str = JOB, **fields: Any) -> JobModel:
    """Put a job into the database as it would be after some history."""
    source = Source(
        object=f"jobs/{job_id}/source", file_name="a.wav", size_bytes=1, sha256="0" * 64,
        format="wav", codec="pcm_s16le",
    )  # fmt: skip
    defaults = {
        "owner": "ann", "options": JobOptions(model="demo-en", diarize=True), "source": source,
        "status": JobStatus.PROCESSING, "stage": Stage.TRANSCRIBE, "duration": DURATION,
        "diarization": DiarizationModel(), "progress": Progress(chunks_total=100),
    }  # fmt: skip
    job = JobModel(id=job_id, **defaults | fields)
    await parts.database.get_collection("jobs").insert_one(job.to_dict())
    return job


def a_unit(kind: UnitKind, **fields: Any) -> UnitModel:
    """A unit of the job as if we had claimed it; it is nowhere in the database."""
    defaults = {
        "id": f"{JOB}-{kind}", "job_id": JOB, "kind": kind, "queue": SPEECH_QUEUE,
        "holder": US, "timeout_seconds": 60.0, "attempt": 1,
    }  # fmt: skip
    return UnitModel(**defaults | fields)


async def claimed(parts: Container, kind: UnitKind) -> UnitModel:
    """Claim a unit of this kind, as a consumer of its queue does."""
    for queue in SERVED:
        while unit := await parts.units.claim(SERVED[queue], 60):
            if unit.kind is kind:
                return unit
            await parts.units.release(unit, not_before=FAR_OFF)
    raise AssertionError(f"there is no unit to {kind}")


async def unit_ids(parts: Container, job_id: str = JOB) -> list[str]:
    """What is to be done for the job, without its id (and for a merge, which one)."""
    ids = [unit.id.removeprefix(f"{job_id}-") for unit in await parts.units.get_units(job_id)]
    return ["merge" if unit_id.startswith("merge-") else unit_id for unit_id in ids]


async def store_chunks(
    parts: Container, statuses: Sequence[ChunkStatus] = (ChunkStatus.DONE,) * 2
) -> None:
    """Put chunks of ten seconds into the database; those that are done have their words."""
    chunks = []
    for index, status in enumerate(statuses):
        start, end = 10.0 * index, 10.0 * (index + 1)
        heard = [_segment(TEXTS[index % 2])] if status is ChunkStatus.DONE else []
        chunks.append(
            ChunkModel(
                id=ChunkModel.make_id(JOB, index),
                job_id=JOB,
                index=index,
                start=start,
                end=end,
                core_start=start,
                core_end=end,
                has_speech=True,
                status=status,
                segments=heard,
                language="en",
                covered_seconds=3.0,
                speech_seconds=3.0,
                error=CRASHED if status is ChunkStatus.FAILED else None,
            )
        )
    await parts.chunks.add_chunks(JOB, chunks)


async def finish_chunks(parts: Container, *indexes: int) -> None:
    """What a speech consumer does at the end of chunks."""
    for chunk in await parts.chunks.claim(JOB, indexes, US):
        result = ChunkResult(
            language="en", segments=[_segment(TEXTS[chunk.index % 2])],
            covered_seconds=3.0, speech_seconds=3.0,
        )  # fmt: skip
        assert await parts.chunks.commit(chunk, result)


async def statuses(parts: Container) -> list[ChunkStatus]:
    return [chunk.status for chunk in await parts.chunks.get_chunks(JOB)]


async def completed(parts: Container, **fields: Any) -> JobModel:
    """Put a completed job with its transcript and chunks into database and store.

    Its speakers are those of `ANN_THEN_BO`: SPEAKER_00, who talks first, and SPEAKER_01.
    """
    await store_chunks(parts)
    key = f"jobs/{JOB}/transcript-old.json"
    turns = [SpeakerTurn(0.0, 10.0, "SPEAKER_00"), SpeakerTurn(10.0, 20.0, "SPEAKER_01")]
    speakers = [
        SpeakerModel(id=f"SPEAKER_0{at}", label=f"Speaker {at + 1}", speech_seconds=10.0)
        for at in range(2)
    ]
    values = {
        "turns": [asdict(turn) for turn in turns],
        "speakers": [speaker.to_dict() | {"id": speaker.id} for speaker in speakers],
    }
    await put(parts, key, values)
    result = Result(
        object=key, language="en", duration=DURATION, segments=2, words=4, speakers=speakers
    )
    defaults = {
        "status": JobStatus.COMPLETED, "stage": Stage.DONE, "result": result,
        "finished_at": THE_PAST,
    }  # fmt: skip
    return await stored(parts, **defaults | fields)


async def put(parts: Container, key: str, values: Any) -> None:
    content = json.dumps(values).encode()
    await parts.store.put(key, io.BytesIO(content), len(content), "application/json")


async def put_turns(parts: Container, key: str, turns: Sequence[SpeakerTurn]) -> None:
    await put(parts, key, asdict(Diarization(tuple(turns), tuple(turns))))


async def put_audio(parts: Container, path: Path, name: str = "audio.wav") -> None:
    await parts.store.put_file(f"jobs/{JOB}/{name}", path, "audio/wav")


async def kept(parts: Container) -> list[str]:
    """Return the names of everything stored for the job."""
    return [stat.key.rpartition("/")[2] for stat in await parts.store.list(f"jobs/{JOB}/")]


@dataclass
class StandInDiarizer:
    """In place of a `DiarizerClient`: answers with given turns, or raises."""

    turns: Sequence[SpeakerTurn] = ()
    error: Exception | None = None
    meanwhile: Callable[[OnProgress], Awaitable[None]] | None = None
    hints: list[SpeakerHints] = field(default_factory=list)
    heard: list[tuple[int, int, int]] = field(default_factory=list)
    known: list[dict[str, tuple[int, int, int]] | None] = field(default_factory=list)
    voices: Sequence[VoiceMatch] = ()

    async def diarize(
        self,
        wav: Path,
        hints: SpeakerHints,
        on_progress: OnProgress,
        known: KnownVoices | None = None,
    ) -> Diarization:
        self.hints.append(hints)
        self.heard.append(_shape(wav))
        self.known.append(known and {one.name: _shape(one.clip) for one in known.people})
        if self.meanwhile is not None:
            await self.meanwhile(on_progress)
        if self.error is not None:
            raise self.error
        return Diarization(tuple(self.turns), tuple(self.turns), tuple(self.voices))


def _shape(wav: Path) -> tuple[int, int, int]:
    with wave.open(str(wav)) as file:
        return file.getframerate(), file.getnchannels(), file.getnframes()


def _segment(words: Sequence[str]) -> dict[str, Any]:
    timed = [
        {"word": word, "start": 1.0 + at, "end": 1.5 + at, "confidence": 0.9}
        for at, word in enumerate(words)
    ]
    return {
        "start": timed[0]["start"], "end": timed[-1]["end"], "text": " ".join(words),
        "words": timed, "confidence": 0.9,
    }  # fmt: skip
