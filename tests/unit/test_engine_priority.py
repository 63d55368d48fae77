"""Engines leave the processors to whoever answers people."""

import os
import sys

from worker.process import run


async def test_an_engine_yields() -> None:
    asked = "import os, sys; sys.stderr.write(str(os.nice(0)))"

    engine = await run([sys.executable, "-c", asked], timeout_seconds=30)

    assert int(engine.stderr) == min(os.nice(0) + 10, 19)
