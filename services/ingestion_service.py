"""Tasks whose recordings do not come with the request: they are at an address, or in the store."""

from __future__ import annotations

import uuid
from contextlib import suppress

from core.download import host_of
from core.errors import Conflict, Unreachable
from core.outgoing import OutgoingClient
from repositories.models import Source
from repositories.task_repository import TaskRepository
from services.direct_uploads import DirectUploads
from services.lifecycle import source_key
from services.upload_service import Accepted, RequestedOptions, UploadService


class IngestionService:
    """The use cases behind `POST /from-url` and `POST /from-upload`.

    Every method may raise `DatabaseUnavailable` or `StorageUnavailable` (both retryable), and
    `TooManyTasks` where there is no room for another task (retryable).
    """

    def __init__(
        self,
        uploads: UploadService,
        direct: DirectUploads,
        jobs: TaskRepository,
        outgoing: OutgoingClient,
    ) -> None:
        self._uploads = uploads
        self._direct = direct
        self._jobs = jobs
        self._outgoing = outgoing

    async def from_url(
        self, owner: str, url: str, requested: RequestedOptions, key: str | None = None
    ) -> Accepted:
        """Accept a recording that a consumer will download.

        Args:
            owner: Whose task it will be.
            url: Of the recording; http or https. It may hold secrets, and is forgotten once the
                recording is here.
            requested: What is to be done with it.
            key: The client's Idempotency-Key.

        Raises:
            InvalidInput: The address or an option cannot be used, or the key has been used for
                something else.
            Conflict: Another request with this key is being worked on (retryable).
        """
        await self._uploads.admit(owner, key)
        with suppress(Unreachable):  # now; the consumer will try more than once
            await self._outgoing.check(url)
        source = Source(object=source_key(uuid.uuid4().hex), file_name=host_of(url), url=url)
        return await self._uploads.create_task_to_fetch(owner, source, requested, key)

    async def from_upload(
        self, owner: str, upload_id: str, requested: RequestedOptions, key: str | None = None
    ) -> Accepted:
        """Accept a recording that its client has put into the store.

        Args:
            owner: Whose upload it is, and whose task it will be.
            upload_id: Of the upload; the task has the same.
            requested: What is to be done with it.
            key: The client's Idempotency-Key.

        Raises:
            NotFound: There is no such upload, or its time is over (code `upload_not_found`).
            Conflict: Its bytes are not all there (`upload_incomplete`), or a task has been made of
                it (`upload_used`).
            InvalidInput: It is too large, an option cannot be used, or the key has been used for
                something else.
        """
        await self._uploads.admit(owner, key)
        source = Source(object=source_key(upload_id), file_name="")
        is_used = await self._jobs.get_job(upload_id, owner) is not None
        if is_used and key is None:
            raise _used(upload_id)
        if not is_used:
            source = await self._direct.stored(owner, upload_id)
        try:
            accepted = await self._uploads.create_task_to_fetch(owner, source, requested, key)
        except Conflict as error:
            if error.error_code == "duplicate":
                raise _used(upload_id) from error
            raise
        if not accepted.is_replay:
            await self._direct.forget(upload_id)
        return accepted


def _used(upload_id: str) -> Conflict:
    return Conflict(
        "A task has been made of this upload already. It has the same id.",
        code="upload_used",
        task_id=upload_id,
    )
