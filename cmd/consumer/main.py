"""Start one consumer process: `python cmd/consumer/main.py --queue speech`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import click

from core.config import load_settings
from core.logger import configure_logging
from core.messaging import QUEUES, SPEECH_QUEUE


@click.command()
@click.option("--queue", type=click.Choice(QUEUES), default=SPEECH_QUEUE, show_default=True)
def main(queue: str) -> None:
    """Serve one queue until told to stop (SIGTERM lets the current work finish)."""
    from internal.consumer.worker import run_consumer

    settings = load_settings()
    configure_logging(settings.log_level, settings.log_format, process="consumer")
    run_consumer(settings, queue)


if __name__ == "__main__":
    main()
