"""`keys`: who may use the API."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TypeVar

import click

from core.config import load_settings
from core.errors import DatabaseUnavailable, Misconfigured
from internal.container import open_container
from repositories.api_key_models import Scope
from services.key_service import KeyService

T = TypeVar("T")


@click.group()
def keys() -> None:
    """Create, list and revoke API keys.

    Without any, the API serves programs on its own machine alone. From the first key on, every
    request needs one.
    """


@keys.command()
@click.option("--owner", required=True, help="Whose tasks it gives access to.")
@click.option("--name", required=True, help="What it is for.")
@click.option(
    "--scope", "scopes", type=click.Choice([scope.value for scope in Scope]), multiple=True,
    default=[Scope.WRITE.value], show_default=True,
    help="What it allows: write includes read, admin both. Again for several.",
)  # fmt: skip
def create(owner: str, name: str, scopes: tuple[str, ...]) -> None:
    """Create a key and print its token, which is shown this once."""
    key, token = _run(lambda access: access.create(owner, name, map(Scope, scopes)))
    click.echo(token)
    click.echo(
        f"key {key.id} of {key.owner}: keep the token, it cannot be shown again. "
        "Everybody needs a key from now on; API_KEY is the one that `transcribe` sends.",
        err=True,
    )


@keys.command("list")
def list_keys() -> None:
    """List all keys, without their secrets."""
    found = _run(lambda access: access.list_keys())
    if not found:
        click.echo("there are no keys (make one: python main.py keys create)", err=True)
        return
    click.echo(f"{'id':<16}  {'owner':<16}  {'scopes':<16}  {'last used':<16}  name")
    for key in found:
        used = "revoked" if key.revoked_at else _minute(key.last_used_at)
        scopes = " ".join(key.scopes)
        click.echo(f"{key.id:<16}  {key.owner:<16}  {scopes:<16}  {used:<16}  {key.name}")


@keys.command()
@click.argument("key_id", metavar="ID")
def revoke(key_id: str) -> None:
    """Make the key ID invalid for ever."""
    key = _run(lambda access: access.revoke(key_id))
    click.echo(f"key {key.id} of {key.owner} is revoked", err=True)


def _run(use: Callable[[KeyService], Awaitable[T]]) -> T:
    """Use the keys of the servers that the settings, or the running stack, name."""

    async def connected() -> T:
        async with open_container(load_settings()) as container:
            return await use(container.access)

    try:
        return asyncio.run(connected())
    except DatabaseUnavailable as error:
        raise Misconfigured(
            "MongoDB, where keys are kept, cannot be reached. On one machine, start it first: "
            "python main.py up --detach"
        ) from error


def _minute(moment: datetime | None) -> str:
    return "never" if moment is None else moment.strftime("%Y-%m-%d %H:%M")
