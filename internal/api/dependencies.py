"""What routes ask for in their signatures."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from internal.container import Container
from services.speaker_service import SpeakerService
from services.task_service import TaskService
from services.upload_service import UploadService

# Until there are API keys, everybody who can reach the server is one owner.
_OWNER = "local"


def get_container(request: Request) -> Container:
    """Return the parts that the application opened at start-up."""
    container: Container = request.app.state.container
    return container


def get_tasks(container: Annotated[Container, Depends(get_container)]) -> TaskService:
    """Return the use cases of tasks."""
    return container.tasks


def get_uploads(container: Annotated[Container, Depends(get_container)]) -> UploadService:
    """Return the use case of uploads."""
    return container.uploads


def get_speakers(container: Annotated[Container, Depends(get_container)]) -> SpeakerService:
    """Return the use cases of speakers."""
    return container.speakers


def get_owner() -> str:
    """Return whose tasks a request may see."""
    return _OWNER


ContainerDep = Annotated[Container, Depends(get_container)]
TasksDep = Annotated[TaskService, Depends(get_tasks)]
UploadsDep = Annotated[UploadService, Depends(get_uploads)]
SpeakersDep = Annotated[SpeakerService, Depends(get_speakers)]
OwnerDep = Annotated[str, Depends(get_owner)]
