"""The application factory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from core.config import Settings
from core.errors import AppError
from core.logger import logger
from core.rate_limits import open_rate_limits
from internal.api.dialects import asr_webservice, openai, whisper_cpp
from internal.api.errors import install_error_handlers
from internal.api.middleware import BodyLimitMiddleware, RequestLogMiddleware
from internal.api.openapi import complete_description
from internal.api.routes import docs, events, health, ingestion, keys, search, tasks, webhooks
from internal.api.security import AuthorisationMiddleware
from internal.api.waiting import WaitingRequests
from internal.container import Container, open_container

_DESCRIPTION = """
Turn recordings into transcripts.

1. `POST /api/v1/tasks/upload` takes a recording and answers 202 with the new task.
2. `GET /api/v1/tasks/{id}` says how far it is.
3. `GET /api/v1/tasks/{id}/result?format=txt` returns the transcript.

Every error has the same JSON shape: a `code` for programs, a `message` for people, and the
`request_id` that the server's log carries too.
"""

# While a server that we need is away at start-up, its absence is reported by /health/ready and
# retried this often.
_RETRY_SECONDS = 2.0


def create_app(settings: Settings) -> FastAPI:
    """Return the application; connections open when it starts."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_container(settings) as container, open_rate_limits(settings) as limits:
            app.state.container, app.state.rate_limits = container, limits
            initialising = asyncio.create_task(_init_storage(container))
            yield
            initialising.cancel()

    app = FastAPI(
        title="Speech-to-text backend",
        version="0.1.0",
        description=_DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,  # routes/docs.py has its own
        redoc_url=None,
    )
    app.state.waiting = WaitingRequests(settings.max_waiting_requests)
    app.include_router(tasks.router)
    app.include_router(ingestion.router)
    app.include_router(events.router)
    app.include_router(search.router)
    app.include_router(health.router)
    app.include_router(keys.router)
    app.include_router(webhooks.router)
    app.include_router(docs.router)
    for dialect in (openai, asr_webservice, whisper_cpp):
        app.include_router(dialect.router)
    complete_description(app)
    install_error_handlers(app)
    # Added last, runs first: the log sees every answer, nothing is received from whom we turn away,
    # and the limit counts before anything is kept.
    app.add_middleware(BodyLimitMiddleware, max_file_bytes=settings.max_upload_bytes)
    app.add_middleware(AuthorisationMiddleware, settings=settings)
    app.add_middleware(
        CORSMiddleware,
        allow_origins=settings.cors_origins,
        allow_methods=["*"],
        allow_headers=["*"],
        expose_headers=[
            "Location",
            "X-Request-ID",
            "X-Task-Id",
            "Retry-After",
            "Content-Disposition",
            "Idempotent-Replayed",
            "WWW-Authenticate",
        ],
    )
    app.add_middleware(RequestLogMiddleware)
    return app


async def _init_storage(container: Container) -> None:
    """Create indexes and bucket, as soon as the servers are there."""
    while True:
        try:
            await container.init_storage()
            await _warn_if_open(container)
        except AppError as error:
            logger.warning("storage is not ready ({}); trying again", error.message)
            await asyncio.sleep(_RETRY_SECONDS)
        else:
            return


async def _warn_if_open(container: Container) -> None:
    """Say in the log whom a server without keys serves."""
    if not await container.access.has_valid():
        logger.warning(
            "there are no API keys: programs on this machine are served without one, and nobody "
            "else is. From the first key on, everybody needs one: python main.py keys create"
        )
