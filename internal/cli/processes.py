"""`start` and `worker`: the API and consumers alone, with the servers that the settings name."""

from __future__ import annotations

import click

from core.config import load_settings
from core.logger import configure_logging
from core.messaging import QUEUES, SPEECH_QUEUE


@click.command()
@click.option("--host", help="Address to listen on; API_HOST where omitted.")
@click.option("--port", type=int, help="Port to listen on; API_PORT where omitted.")
def start(host: str | None, port: int | None) -> None:
    """Serve the REST API alone, with the servers that the settings name."""
    from internal.api.server import run_api

    settings = load_settings()
    changes = {"api_host": host or settings.api_host, "api_port": port or settings.api_port}
    configure_logging(settings.log_level, settings.log_format, process="api")
    run_api(settings.model_copy(update=changes))


@click.command()
@click.option(
    "--concurrency", type=click.IntRange(1, 256), help="Consumers; CONSUMER_CONCURRENCY if omitted."
)
@click.option("--queue", type=click.Choice(QUEUES), default=SPEECH_QUEUE, show_default=True)
def worker(concurrency: int | None, queue: str) -> None:
    """Run consumers, with the servers that the settings name."""
    from internal.consumer.pool import run_pool

    settings = load_settings()
    configure_logging(settings.log_level, settings.log_format, process="consumers")
    run_pool(queue, concurrency or settings.consumer_concurrency)
