"""What routes ask for in their signatures.

The functions that FastAPI calls are coroutines, although they wait for nothing: of others it runs
each in a thread, which costs a request more than all that they do.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from internal.api.security import get_principal
from internal.container import Container
from services.speaker_service import SpeakerService
from services.task_service import TaskService
from services.upload_service import UploadService
from services.webhook_service import WebhookService


def get_container(request: Request) -> Container:
    """Return the parts that the application opened at start-up."""
    container: Container = request.app.state.container
    return container


async def _provide_container(request: Request) -> Container:
    return get_container(request)


ContainerDep = Annotated[Container, Depends(_provide_container)]


async def get_tasks(container: ContainerDep) -> TaskService:
    """Return the use cases of tasks."""
    return container.tasks


async def get_uploads(container: ContainerDep) -> UploadService:
    """Return the use case of uploads."""
    return container.uploads


async def get_speakers(container: ContainerDep) -> SpeakerService:
    """Return the use cases of speakers."""
    return container.speakers


async def get_webhooks(container: ContainerDep) -> WebhookService:
    """Return the use cases of webhooks."""
    return container.webhooks


def get_owner(request: Request) -> str:
    """Return whose tasks a request may see."""
    return get_principal(request).owner


async def _provide_owner(request: Request) -> str:
    return get_owner(request)


TasksDep = Annotated[TaskService, Depends(get_tasks)]
UploadsDep = Annotated[UploadService, Depends(get_uploads)]
SpeakersDep = Annotated[SpeakerService, Depends(get_speakers)]
WebhooksDep = Annotated[WebhookService, Depends(get_webhooks)]
OwnerDep = Annotated[str, Depends(_provide_owner)]
