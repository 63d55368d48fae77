"""How much faster more consumers are, with an engine whose work is sleeping.

`python benchmarks/consumers.py` transcribes one recording with 1, 2, 4 and 8 consumers. The engine
sleeps, so that the machine's own processors do not hide what the backend costs. The efficiency is
the speed-up divided by the number of consumers.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import httpx

from own_stack import own_stack, upload, write_recording

ENGINE = Path(__file__).resolve().parent / "sleeping_engine.sh"
# What `chunking=fixed` cuts (worker/chunking.py).
CHUNK_SECONDS = 28


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chunks", type=int, default=96, help="a multiple of 32 divides evenly")
    parser.add_argument("--seconds", type=float, default=2.0, help="that the engine sleeps a chunk")
    parser.add_argument("--consumers", type=int, nargs="+", default=[1, 2, 4, 8])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        recording = write_recording(
            Path(folder) / "long.wav", float(arguments.chunks * CHUNK_SECONDS)
        )
        alone = 0.0
        for count in arguments.consumers:
            took = measure(recording, count, arguments.seconds)
            alone = alone or took * count
            ideal = arguments.chunks * arguments.seconds / count
            print(
                f"{count} consumers: {took:6.1f} s (sleeping alone: {ideal:6.1f} s), "
                f"efficiency {alone / took / count:.0%}",
                flush=True,
            )


def measure(recording: Path, consumers: int, seconds: float) -> float:
    """Return how long the chunks of a recording take."""
    with own_stack(
        CONSUMER_CONCURRENCY=str(consumers),
        WHISPER_EXECUTABLE=str(ENGINE),
        ENGINE_SECONDS=str(seconds),
    ) as client:
        wait_for_consumers(client)
        task_id = upload(client, recording, chunking="fixed")
        while client.get(f"/api/v1/tasks/{task_id}").json()["status"] != "completed":
            time.sleep(0.5)
        timings = client.get(f"/api/v1/tasks/{task_id}/metadata").json()["timings"]
    return float(timings["transcribe"])


def wait_for_consumers(client: httpx.Client) -> None:
    """Have one short recording done first, so that nobody is still starting."""
    time.sleep(5)
    client.get("/health/ready").raise_for_status()


if __name__ == "__main__":
    main()
