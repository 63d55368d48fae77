"""How quickly the API answers, and who waits how long, while there is much to do.

`python benchmarks/load.py` uploads ten long recordings and then two hundred short ones to a stack
on this machine, asks for their status all the while, and waits until all are done.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from own_stack import own_stack, upload, write_recording


@dataclass
class Watched:
    """The tasks of one kind: when they were uploaded, and how long they took to their end."""

    name: str
    started: dict[str, float] = field(default_factory=dict)
    took: dict[str, float] = field(default_factory=dict)

    @property
    def open(self) -> list[str]:
        """Those that have not ended."""
        return [task_id for task_id in self.started if task_id not in self.took]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--long", type=int, default=10)
    parser.add_argument("--long-minutes", type=float, default=10)
    parser.add_argument("--short", type=int, default=200)
    parser.add_argument("--short-seconds", type=float, default=10)
    arguments = parser.parse_args()
    long, short = Watched("long"), Watched("short")
    latencies: list[float] = []
    with tempfile.TemporaryDirectory() as folder, own_stack() as client:
        large = write_recording(Path(folder) / "long.wav", arguments.long_minutes * 60)
        small = write_recording(Path(folder) / "short.wav", arguments.short_seconds)
        for kind, path, count in ((long, large, arguments.long), (short, small, arguments.short)):
            for _ in range(count):
                asked = time.monotonic()
                kind.started[upload(client, path)] = asked
                look(client, [long, short], latencies, at_most=5)
        while long.open or short.open:
            look(client, [long, short], latencies, at_most=50)
    report([long, short], latencies)


def look(client: httpx.Client, kinds: list[Watched], latencies: list[float], at_most: int) -> None:
    """Ask for the status of some open tasks, one after the other."""
    for kind in kinds:
        for task_id in kind.open[:at_most]:
            asked = time.perf_counter()
            task = client.get(f"/api/v1/tasks/{task_id}").json()
            latencies.append(time.perf_counter() - asked)
            if task["status"] == "failed":
                raise SystemExit(f"a task failed: {task['error']}")
            if task["status"] == "completed":
                kind.took[task_id] = time.monotonic() - kind.started[task_id]
        time.sleep(0.05)


def report(kinds: list[Watched], latencies: list[float]) -> None:
    for kind in kinds:
        times = sorted(kind.took.values())
        print(
            f"{len(times)} {kind.name}: to the transcript {statistics.median(times):.0f} s "
            f"(median), {times[-1]:.0f} s (longest)"
        )
    cuts = statistics.quantiles(latencies, n=100)
    print(
        f"{len(latencies)} status requests: p50 {cuts[49] * 1000:.1f} ms, "
        f"p95 {cuts[94] * 1000:.1f} ms, p99 {cuts[98] * 1000:.1f} ms"
    )


if __name__ == "__main__":
    main()
