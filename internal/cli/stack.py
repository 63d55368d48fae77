"""`up`, `down` and `demo`: the embedded stack."""

from __future__ import annotations

import contextlib
import signal
import threading
from types import FrameType

import click

from core.config import Settings, load_settings
from core.errors import AppError
from internal.cli.client import ApiClient
from internal.cli.following import SAMPLE, Order, transcribe_file
from internal.cli.models import ensure_model
from internal.stack.manager import StackManager
from services.engines import find_whisper
from worker.media import find_ffmpeg


@click.command()
@click.option("--detach", is_flag=True, help="Return when all is well, and leave it running.")
def up(detach: bool) -> None:
    """Start the whole backend on this machine: servers, API, consumers.

    Everything it keeps is in DATA_DIR and survives a restart. API_PORT and DATA_DIR let several
    run side by side.
    """
    settings = load_settings()
    manager = StackManager(settings)
    if manager.is_running:
        click.echo(f"already running: {settings.api_url} (data in {settings.data_dir})", err=True)
        return
    start_stack(settings, manager)
    click.echo(f"up: {settings.api_url}  (try {settings.api_url}/docs)", err=True)
    if detach:
        click.echo("stop it with: python main.py down", err=True)
        return
    click.echo("press Ctrl-C to stop", err=True)
    _wait_for_signal()
    click.echo("stopping", err=True)
    manager.stop()


@click.command()
def down() -> None:
    """Stop the backend that `up` started; consumers finish or give back what they are at."""
    stopped = StackManager(load_settings()).stop()
    click.echo("stopped" if stopped else "nothing was running", err=True)


@click.command()
def demo() -> None:
    """Start the backend, transcribe the sample recording with speakers, print it, stop again."""
    settings = load_settings()
    manager = StackManager(settings)
    was_running = manager.is_running
    if not was_running:
        start_stack(settings, manager)
    try:
        with ApiClient(settings.api_url, api_key=settings.api_key) as client:
            asked = Order("txt", {"diarize": "true"}, keep=False)
            text = transcribe_file(client, SAMPLE, asked)
        click.echo(text, nl=False)
    finally:
        if not was_running:
            with contextlib.suppress(AppError):
                manager.stop()


def start_stack(settings: Settings, manager: StackManager) -> None:
    """Check the engines, fetch the default model if it can be, and start everything."""
    find_ffmpeg(settings.ffmpeg_executable)
    find_whisper(settings)
    ensure_model(settings)
    manager.start(lambda line: click.echo(line, err=True))


def _wait_for_signal() -> None:
    told = threading.Event()

    def stop(_signal: int, _frame: FrameType | None) -> None:
        told.set()

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    while not told.wait(3600):
        pass
