"""How long a search takes, by how much there is to be searched, on the embedded MongoDB.

`python benchmarks/search.py` fills a database step by step with transcripts of made-up words (as
frequent as words are) and searches it after each step: with `SearchService`, and by looking at the
text of every segment, which is the baseline. Machines are shared: read the ratios.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import random
import socket
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from core.config import Settings
from core.database import MongoDB
from core.logger import configure_logging
from core.storage import get_storage
from repositories.models import JobCreate, JobOptions, JobStatus, Result, Source
from repositories.segment_repository import SegmentRepository
from repositories.task_repository import TaskRepository
from services.lifecycle import transcript_key
from services.merge_service import put_json
from services.search_service import SearchService

OWNER = "local"
SEGMENTS_PER_TASK = 1_000  # about an hour of talk
WORDS_PER_SEGMENT = 10
# By rank of the word: what an hour of English has is about 1,500 different words.
VOCABULARY = [f"{chr(97 + rank % 26)}{rank:05}" for rank in range(30_000)]
WEIGHTS = list(itertools.accumulate(1 / (rank + 4) ** 1.3 for rank in range(30_000)))
QUERIES = {
    "one common word": VOCABULARY[0],
    "one rare word": VOCABULARY[20_000],
    "two words": f"{VOCABULARY[100]} {VOCABULARY[300]}",
    "common and rare": f"{VOCABULARY[1]} {VOCABULARY[20_000]}",
    "three common words": " ".join(VOCABULARY[:3]),
    "phrase": f'"{VOCABULARY[0]} {VOCABULARY[50]}"',
    "word that is not there": "nowhere",
}
START = datetime(2026, 1, 1, tzinfo=UTC)
HITS = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--segments", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    configure_logging("ERROR")
    with tempfile.TemporaryDirectory() as folder, embedded_mongodb(Path(folder)) as url:
        settings = Settings(
            data_dir=Path(folder), storage_backend="folder", mongodb_url=url,
            mongodb_timeout_ms=100_000,
        )  # fmt: skip
        asyncio.run(measure(settings, sorted(arguments.segments), arguments.rounds))


@contextmanager
def embedded_mongodb(folder: Path) -> Iterator[str]:
    """Run the wire server on a free port."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = str(sock.getsockname()[1])
    argv = [
        str(Path(sysconfig.get_path("scripts")) / "nx-27017"), "--host", "127.0.0.1",
        "--port", port, "--db", str(folder / "search.db"), "--log-file", os.devnull,
        "--pid-file", str(folder / "pid"),
    ]  # fmt: skip
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603
    try:
        yield f"mongodb://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


async def measure(settings: Settings, sizes: list[int], rounds: int) -> None:
    database, store = MongoDB(settings), get_storage(settings)
    await database.connect()
    await store.prepare()
    settings.temp_dir.mkdir(exist_ok=True)
    jobs, segments = TaskRepository(database), SegmentRepository(database)
    for repository in (jobs, segments):
        await repository.ensure_indexes()
    service = SearchService(jobs, segments, store)
    dice, tasks = random.Random(1), 0
    for size in sizes:
        seconds, begun = 0.0, tasks
        while tasks * SEGMENTS_PER_TASK < size:
            create = JobCreate(
                id=f"{dice.getrandbits(128):032x}", owner=OWNER, options=JobOptions(model="none"),
                source=Source(object="none", file_name=f"{tasks}.wav"),
            )  # fmt: skip
            key = transcript_key(create.id, "made-up")
            await put_json(store, settings, key, {"segments": made_up(dice)})
            result = Result(object=key, language="en", duration=1.0, segments=1, words=1)
            created_at = START + timedelta(minutes=tasks)
            job = await jobs.create_job(
                create, status=JobStatus.COMPLETED, result=result, created_at=created_at
            )
            started = time.perf_counter()
            await service.index(job)
            seconds += time.perf_counter() - started
            await store.delete(key)
            tasks += 1
        postings = await database.get_collection("postings").count_documents({})
        stored = sum(path.stat().st_size for path in settings.data_dir.glob("search.db*"))
        print(
            f"\n{tasks * SEGMENTS_PER_TASK:,} segments of {tasks:,} tasks: {postings:,} postings, "
            f"{stored / 1e6:,.0f} MB in all; indexing a task took "
            f"{seconds / (tasks - begun):.2f} s"
        )
        baseline = await timed(partial(look_at_all, database, "nowhere"), rounds)
        print(f"  looking at every segment: {baseline * 1000:,.0f} ms")
        for name, query in QUERIES.items():
            took = await timed(partial(service.search, OWNER, query, limit=HITS), rounds)
            found = len((await service.search(OWNER, query, limit=HITS)).hits)
            print(
                f"  {name:<24} {took * 1000:8.1f} ms, {baseline / took:8,.0f} times faster, "
                f"{found} hits"
            )
    await database.disconnect()


def made_up(dice: random.Random) -> list[dict[str, object]]:
    """Return the segments of an hour."""
    return [
        {"start": 3.6 * at, "end": 3.6 * at + 3, "speaker": "SPEAKER_00",
         "text": " ".join(dice.choices(VOCABULARY, cum_weights=WEIGHTS, k=WORDS_PER_SEGMENT))}
        for at in range(SEGMENTS_PER_TASK)
    ]  # fmt: skip


async def look_at_all(database: MongoDB, text: str) -> None:
    """Read every segment and look for the text in it, as it is typed."""
    async for stretch in database.get_collection("segments").find({}):
        for segment in stretch["segments"]:
            _ = text in segment["text"].lower()


async def timed(action: Callable[[], Awaitable[object]], rounds: int) -> float:
    """Return the median of the seconds that an action takes."""
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        await action()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


if __name__ == "__main__":
    main()
