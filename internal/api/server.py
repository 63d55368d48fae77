"""Running the API under uvicorn."""

from __future__ import annotations

import tempfile

import uvicorn

from core.config import Settings
from internal.api.app import create_app

# After SIGTERM, requests under way get this long to end.
_SHUTDOWN_SECONDS = 20


def run_api(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT."""
    settings.temp_dir.mkdir(parents=True, exist_ok=True)
    # Uploads are spooled by Starlette's form parser into nameless temporary files: they belong
    # on the data disk, and vanish with the process however it ends.
    tempfile.tempdir = str(settings.temp_dir)
    uvicorn.run(
        create_app(settings),
        host=settings.api_host,
        port=settings.api_port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
    )
