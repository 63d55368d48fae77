"""Start the API process: `python cmd/api/main.py --host 0.0.0.0 --port 8000`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import click

from core.config import load_settings
from core.logger import configure_logging


@click.command()
@click.option("--host", help="Address to listen on; API_HOST where omitted.")
@click.option("--port", type=int, help="Port to listen on; API_PORT where omitted.")
def main(host: str | None, port: int | None) -> None:
    """Serve the REST API until told to stop."""
    from internal.api.server import run_api

    settings = load_settings()
    changes = {"api_host": host or settings.api_host, "api_port": port or settings.api_port}
    configure_logging(settings.log_level, settings.log_format, process="api")
    run_api(settings.model_copy(update=changes))


if __name__ == "__main__":
    main()
