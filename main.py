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
from internal.cli.keys import keys
from internal.cli.models import models
from internal.cli.processes import start, worker
from internal.cli.search import search
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


@main.command("init-storage")
def init_storage() -> None:
    """Create the bucket (or folder) and the database's indexes; what is there stays."""
    from internal.container import open_container

    async def initialise() -> None:
        async with open_container(load_settings()) as container:
            await container.init_storage()

    asyncio.run(initialise())
    click.echo("storage and indexes are ready", err=True)


for command in (demo, doctor, down, keys, models, search, start, status, transcribe, up, worker):
    main.add_command(command)


if __name__ == "__main__":
    sys.exit(main())
