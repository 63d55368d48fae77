"""Several consumers from one command: each a process of its own, started again if it dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from types import FrameType

from core.config import PROJECT_ROOT
from core.logger import logger
from core.messaging import SPEECH_QUEUE
from worker.process import die_with_parent

_PAUSE_SECONDS = 1.0


def run_pool(queue: str, count: int) -> None:
    """Run `count` consumers until SIGTERM or SIGINT, then let each finish or give back."""
    stopping = False

    def stop(_signal: int, _frame: FrameType | None) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    consumers = [_start(queue, count) for _ in range(count)]
    while not stopping:
        time.sleep(_PAUSE_SECONDS)
        for place, consumer in enumerate(consumers):
            if consumer.poll() is not None and not stopping:
                logger.warning("a consumer ended with status {}: restarting", consumer.returncode)
                consumers[place] = _start(queue, count)
    for consumer in consumers:
        consumer.terminate()
    for consumer in consumers:
        consumer.wait()


def _start(queue: str, count: int) -> subprocess.Popen[bytes]:
    # Speech consumers share the processors by their number; others come on top of them.
    shares = {"CONSUMER_CONCURRENCY": str(count)} if queue == SPEECH_QUEUE else {}
    script = PROJECT_ROOT / "cmd" / "consumer" / "main.py"
    # A session of its own: Ctrl-C in the terminal must reach consumers once, through us.
    return subprocess.Popen(  # noqa: S603 - our own script
        [sys.executable, str(script), "--queue", queue],
        env=os.environ | shares,
        start_new_session=True,
        preexec_fn=die_with_parent,
    )
