"""Running the API under uvicorn."""

from __future__ import annotations

import gc
import socket
import tempfile
from contextlib import suppress

import uvicorn
from fastapi import FastAPI

from core.config import Settings
from internal.api.app import create_app

# After SIGTERM, requests under way get this long to end.
_SHUTDOWN_SECONDS = 20


class _Server(uvicorn.Server):
    """Ends the streams and the waits that are open, when it is told to stop."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._app = app

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop: send away those who wait for tasks, and let other requests come to their end."""
        self._app.state.container.events.stop()
        await super().shutdown(sockets)


def run_api(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT."""
    settings.temp_dir.mkdir(parents=True, exist_ok=True)
    # Uploads are spooled by Starlette's form parser into nameless temporary files: they belong
    # on the data disk, and vanish with the process however it ends.
    tempfile.tempdir = str(settings.temp_dir)
    app = create_app(settings)
    # All that there is now stays. Looking through it in every full collection of garbage would
    # stop all requests for a tenth of a second.
    gc.collect()
    gc.freeze()
    config = uvicorn.Config(
        app,
        host=settings.api_host,
        port=settings.api_port,
        log_config=None,
        access_log=False,
        server_header=False,
        # Whose X-Forwarded-For says who the client is; from others it is not read.
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=[str(network) for network in settings.trusted_proxies],
        timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
    )
    with suppress(KeyboardInterrupt):  # Ctrl-C, after the shutdown
        _Server(config, app).run()
