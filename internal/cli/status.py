"""`status` and `doctor`: what runs, and what is wrong."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from importlib.metadata import version

import click
import httpx

from core.config import Settings, load_settings
from core.errors import AppError
from internal.container import Container, open_container
from internal.stack.manager import StackManager
from repositories.models import UnitState
from services.engines import diarizer_options, find_whisper
from services.model_service import ModelService
from worker.media import find_ffmpeg
from worker.pipeline_source import check_pipeline

_VERSION_TIMEOUT_SECONDS = 20
_LOW_DISK_BYTES = 2 * 1024**3


@click.command()
def status() -> None:
    """Show what runs, jobs and queues, disk and models."""
    settings = load_settings()
    processes = StackManager(settings).processes()
    click.echo("processes")
    for process in processes:
        click.echo(f"  {process.name:<14} {process.state:<9} {process.description}")
    if not processes:
        click.echo("  the embedded stack is down (start it: python main.py up)")
    asyncio.run(_show_work(settings))
    usage = shutil.disk_usage(_existing(settings))
    click.echo(f"disk\n  {usage.free / 1e9:.1f} GB free under {settings.data_dir}")
    click.echo("models")
    for model in ModelService(settings.models_dir, settings.models_url).installed():
        default = "  (default)" if model.name == settings.whisper_model else ""
        click.echo(f"  {model.name}{default}")


@click.command()
def doctor() -> None:
    """Check each part, say what is wrong and how to mend it. Ends with 1 if anything is."""
    settings = load_settings()
    checks = [*_machine_checks(settings), *asyncio.run(_server_checks(settings))]
    for check in checks:
        click.echo(f"{_mark(check)} {check.name:<10} {check.finding}")
    if not all(check.is_well or check.is_optional for check in checks):
        raise SystemExit(1)


@dataclass(frozen=True)
class Check:
    """One thing looked at: how it is, and what to do where it is not well.

    What is optional may be missing: everything else works without it.
    """

    name: str
    is_well: bool
    finding: str
    is_optional: bool = False


def _machine_checks(settings: Settings) -> list[Check]:
    """Look at everything that needs no server."""
    models = ModelService(settings.models_dir, settings.models_url)
    return [
        _try("python", lambda: sys.version.split()[0]),
        _try("ffmpeg", lambda: _first_line(find_ffmpeg(settings.ffmpeg_executable), "-version")),
        _try("whisper", lambda: _first_line(find_whisper(settings), "-h")),
        _try("model", lambda: str(models.get(settings.whisper_model).path)),
        replace(_try("speakers", lambda: _look_at_diarization(settings)), is_optional=True),
        _check_disk(settings),
    ]


async def _server_checks(settings: Settings) -> list[Check]:
    """Ask each server for a sign of life."""
    async with open_container(settings) as container:
        asked: dict[str, Callable[[], Awaitable[None]]] = {
            "mongodb": container.database.health_check,
            "redis": container.queue.health_check,
            "storage": container.store.health_check,
        }
        found = []
        for name, ask in asked.items():
            try:
                await ask()
            except AppError as error:
                found.append(Check(name, is_well=False, finding=_server_hint(error)))
            else:
                found.append(Check(name, is_well=True, finding="answers"))
    return [*found, _check_api(settings)]


async def _show_work(settings: Settings) -> None:
    async with open_container(settings) as container:
        try:
            await _show_jobs(container)
        except AppError as error:
            click.echo(f"jobs and queues\n  {error.message}")


async def _show_jobs(container: Container) -> None:
    jobs = await container.jobs.count_by_status()
    units = await container.units.count()
    queues = await container.queue.get_queue_stats()
    click.echo("jobs")
    click.echo("  " + (", ".join(f"{n} {name}" for name, n in sorted(jobs.items())) or "none"))
    click.echo("queues")
    for name, stats in queues.items():
        click.echo(
            f"  {name}: {units.get((name, UnitState.OPEN), 0)} waiting, "
            f"{units.get((name, UnitState.RUNNING), 0)} running, {stats.workers} consumers"
        )


def _try(name: str, look: Callable[[], str]) -> Check:
    try:
        return Check(name, is_well=True, finding=look())
    except AppError as error:
        return Check(name, is_well=False, finding=error.message)
    except (OSError, subprocess.SubprocessError) as error:
        return Check(name, is_well=False, finding=f"cannot be run: {error}")


def _mark(check: Check) -> str:
    if check.is_well:
        return click.style("ok  ", fg="green")
    return click.style("--  ", fg="yellow") if check.is_optional else click.style("FAIL", fg="red")


def _look_at_diarization(settings: Settings) -> str:
    """Return what would tell speakers apart, or raise what keeps it from doing so."""
    options = diarizer_options(settings)
    check_pipeline(options.pipeline, options.token)
    versions = ", ".join(f"{name} {version(name)}" for name in ("pyannote.audio", "torch"))
    return f"{options.pipeline} ({versions})"


def _first_line(executable: str, argument: str) -> str:
    ran = subprocess.run(  # noqa: S603 - the engine that the settings name
        [executable, argument],
        capture_output=True,
        text=True,
        check=False,
        timeout=_VERSION_TIMEOUT_SECONDS,
        stdin=subprocess.DEVNULL,
    )
    lines = [line for line in (ran.stdout + ran.stderr).splitlines() if line.strip()]
    return f"{executable} ({lines[0].strip() if lines else 'no version'})"


def _check_disk(settings: Settings) -> Check:
    free = shutil.disk_usage(_existing(settings)).free
    finding = f"{free / 1e9:.1f} GB free under {settings.data_dir}"
    if free < _LOW_DISK_BYTES:
        return Check("disk", is_well=False, finding=f"{finding}: free some, or move DATA_DIR")
    return Check("disk", is_well=True, finding=finding)


def _check_api(settings: Settings) -> Check:
    try:
        httpx.get(f"{settings.api_url}/health/live", timeout=5).raise_for_status()
    except httpx.HTTPError:
        return Check("api", False, f"no answer at {settings.api_url}: python main.py up")
    return Check("api", True, f"answers at {settings.api_url}")


def _server_hint(error: AppError) -> str:
    return f"{error.message} On one machine: python main.py up"


def _existing(settings: Settings) -> str:
    """Return the data folder, or the nearest one above it that exists."""
    folder = settings.data_dir
    while not folder.exists():
        folder = folder.parent
    return str(folder)
