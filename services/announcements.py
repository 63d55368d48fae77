"""Telling the end of a task to the endpoint that the task names."""

from __future__ import annotations

from typing import Any

from core.clock import utc_now
from repositories.delivery_repository import DeliveryRepository
from repositories.document import to_milliseconds
from repositories.models import JobModel, JobStatus
from repositories.webhook_models import DeliveryModel
from repositories.webhook_repository import WebhookRepository
from services.webhook_sender import message
from services.webhook_service import KEPT

_EVENTS = {
    JobStatus.COMPLETED: "task.completed",
    JobStatus.FAILED: "task.failed",
    JobStatus.CANCELLED: "task.cancelled",
}


class Announcements:
    """Adds the messages that `services.delivery_service` sends."""

    def __init__(self, webhooks: WebhookRepository, deliveries: DeliveryRepository) -> None:
        self._webhooks = webhooks
        self._deliveries = deliveries

    async def add(self, job: JobModel) -> None:
        """Add the message about this end of a job, if anybody wants it; twice adds it once.

        Raises:
            DatabaseUnavailable: MongoDB cannot be reached (retryable).
        """
        if job.webhook_id is None or await self._webhooks.get(job.webhook_id) is None:
            return
        assert job.finished_at is not None
        event = _EVENTS[job.status]
        delivery = DeliveryModel(
            # A job that is begun anew ends anew. (No dots: they separate what is signed.)
            id=f"msg_{job.id}_{to_milliseconds(job.finished_at)}",
            owner=job.owner,
            webhook_id=job.webhook_id,
            job_id=job.id,
            type=event,
            body=message(event, job.finished_at, _facts(job)),
            expires_at=utc_now() + KEPT,
        )
        await self._deliveries.add(delivery)


def _facts(job: JobModel) -> dict[str, Any]:
    """Return what an endpoint is told of a job: nothing of what was said in the recording."""
    path = f"/api/v1/tasks/{job.id}"
    return {
        "id": job.id,
        "status": job.status.value,
        "file_name": job.source.file_name,
        "duration": job.duration,
        "attempt": job.attempt,
        "created_at": job.created_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
        "expires_at": job.expires_at,
        "timings": job.timings,
        "warnings": job.all_warnings,
        "error": None if job.error is None else job.error.to_dict(),
        "task_path": path,
        "result_path": None if job.result is None else f"{path}/result",
    }
