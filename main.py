"""The command line: `python main.py --help`."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import click
from pydantic import ValidationError

from core.config import load_settings
from core.errors import AppError
from core.logger import configure_logging
from core.messaging import QUEUES, SPEECH_QUEUE
from internal.cli.models import models
from internal.cli.stack import demo, down, up
from internal.cli.status import doctor, status
from internal.cli.transcribe import transcribe


class _FriendlyGroup(click.Group):
    """Shows our errors as one line instead of a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except AppError as error:
            raise click.ClickException(error.message) from error
        except ValidationError as error:
            problems = "; ".join(
                f"{str(p['loc'][0]).upper()}: {p['msg']}" for p in error.errors() if p["loc"]
            )
            raise click.ClickException(f"a setting cannot be used: {problems}") from error


@click.group(cls=_FriendlyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-v", "--verbose", is_flag=True, help="Log what is done to standard error.")
def main(verbose: bool) -> None:
    """Turn recordings into transcripts on your own machines.

    Start with `up`, then `transcribe FILE`.
    """
    configure_logging("DEBUG" if verbose else "ERROR", process="cli")


@main.command()
@click.option("--host", help="Address to listen on; API_HOST where omitted.")
@click.option("--port", type=int, help="Port to listen on; API_PORT where omitted.")
def start(host: str | None, port: int | None) -> None:
    """Serve the REST API alone, with the servers that the settings name."""
    from internal.api.server import run_api

    settings = load_settings()
    changes = {"api_host": host or settings.api_host, "api_port": port or settings.api_port}
    configure_logging(settings.log_level, settings.log_format, process="api")
    run_api(settings.model_copy(update=changes))


@main.command()
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


@main.command("init-storage")
def init_storage() -> None:
    """Create the bucket (or folder) and the database's indexes; what is there stays."""
    from internal.container import open_container

    async def initialise() -> None:
        async with open_container(load_settings()) as container:
            await container.init_storage()

    asyncio.run(initialise())
    click.echo("storage and indexes are ready", err=True)


for command in (demo, doctor, down, models, status, transcribe, up):
    main.add_command(command)


if __name__ == "__main__":
    sys.exit(main())
