"""`models list` and `models pull`."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from tqdm import tqdm

from core.config import Settings, load_settings
from services.model_service import CATALOGUE, ModelService


@click.group()
def models() -> None:
    """Speech models: what is installed, and fetching others."""


@models.command("list")
def list_models() -> None:
    """Show installed models and those that can be fetched."""
    settings = load_settings()
    service = ModelService(settings.models_dir, settings.models_url)
    installed = service.installed()
    for model in installed:
        mark = "*" if model.name == settings.whisper_model else " "
        languages = "English" if model.english_only else "99 languages"
        click.echo(f"{mark} {model.name:<22} {model.size_bytes / 1e6:8.0f} MB  {languages}")
    names = {model.name for model in installed}
    for name in CATALOGUE:
        if name not in names:
            click.echo(f"  {name:<22}  fetch: python main.py models pull {name}")
    click.echo("\n* the default (WHISPER_MODEL)", err=True)


@models.command("pull")
@click.argument("name")
def pull_model(name: str) -> None:
    """Fetch the model NAME; a broken download is continued, its checksum is verified."""
    path = _pull(load_settings(), name)
    click.echo(f"{name} is installed: {path}", err=True)


def ensure_model(settings: Settings) -> None:
    """Fetch the default model if it is missing and known; otherwise leave the error to its use."""
    service = ModelService(settings.models_dir, settings.models_url)
    missing = not service.path_of(settings.whisper_model).exists()
    if missing and settings.whisper_model in CATALOGUE:
        _pull(settings, settings.whisper_model)
    else:
        service.get(settings.whisper_model)


def _pull(settings: Settings, name: str) -> Path:
    service = ModelService(settings.models_dir, settings.models_url)
    with tqdm(desc=f"fetching {name}", unit="B", unit_scale=True, file=sys.stderr) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        return service.pull(name, show)
