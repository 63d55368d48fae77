"""Direct uploads: a client puts its recording into the object store, and then asks for a task.

Where the store has addresses that clients can reach, the bytes never pass through us.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from core.clock import utc_now
from core.config import Settings
from core.download import too_large
from core.errors import Conflict, Forbidden, InvalidInput, NotFound, TooManyTasks
from core.logger import bound, logged_operation
from core.storage import ObjectNotFound, ObjectStore
from core.storage.folder import translate_os_error
from core.workspace import working_folder
from repositories.direct_upload_repository import DirectUpload, DirectUploadRepository
from repositories.models import Source
from repositories.task_repository import TaskRepository
from services.admission import Admission
from services.lifecycle import source_key
from services.recording import RECORDING_TYPE, shown_name

_TOKEN_BYTES = 32


@dataclass(frozen=True)
class OpenedUpload:
    """Whereto a recording may be put.

    Attributes:
        upload: What is written down of it.
        url: The store's own address; None where it has none.
        token: Else, what an address of ours has to carry.
    """

    upload: DirectUpload
    url: str | None
    token: str | None


class DirectUploads:
    """The use cases behind `/api/v1/uploads`.

    Every method may raise `DatabaseUnavailable` or `StorageUnavailable` (both retryable).
    """

    def __init__(
        self,
        settings: Settings,
        uploads: DirectUploadRepository,
        jobs: TaskRepository,
        store: ObjectStore,
        admission: Admission,
    ) -> None:
        self._settings = settings
        self._uploads = uploads
        self._jobs = jobs
        self._store = store
        self._admission = admission

    async def open(self, owner: str, file_name: str, size_bytes: int) -> OpenedUpload:
        """Let a client put a recording into the store.

        Args:
            owner: Whose it will be.
            file_name: As the client calls it.
            size_bytes: How large it is.

        Raises:
            InvalidInput: It is larger than accepted (code `file_too_large`).
            TooManyTasks: There is no room for another one (retryable).
        """
        if size_bytes > self._settings.max_upload_bytes:
            raise too_large(self._settings.max_upload_bytes)
        await self._admission.check(owner)
        most = self._settings.max_open_tasks_per_owner
        if await self._uploads.count_of(owner) >= most:
            raise TooManyTasks(
                f"You have {most} direct uploads of which no task has been made, the most allowed "
                "here. Try again when they have expired.",
                code="too_many_uploads",
                limit=most,
            )
        upload_id, seconds = uuid.uuid4().hex, self._settings.direct_upload_seconds
        with bound(job_id=upload_id), logged_operation("open direct upload"):
            url = await self._store.presigned_put(source_key(upload_id), seconds)
            token = None if url else secrets.token_urlsafe(_TOKEN_BYTES)
            upload = DirectUpload(
                id=upload_id,
                owner=owner,
                file_name=shown_name(file_name),
                size_bytes=size_bytes,
                token_hash=_hash(token) if token else None,
                expires_at=utc_now() + timedelta(seconds=seconds),
            )
            await self._uploads.add(upload)
        return OpenedUpload(upload, url, token)

    async def receive(self, upload_id: str, token: str, body: AsyncIterator[bytes]) -> None:
        """Store what a client puts to an address of ours; a second time replaces the first.

        Args:
            upload_id: Which upload.
            token: From the address.
            body: What arrives, in blocks.

        Raises:
            Forbidden: The address is not valid, or not any more (code `invalid_upload_address`).
            InvalidInput: More arrives than was announced (code `file_too_large`).
            Conflict: Less arrived (code `upload_incomplete`).
        """
        upload = await self._check(upload_id, token)
        with (
            bound(job_id=upload_id),
            logged_operation("receive direct upload", translate=translate_os_error),
            working_folder(self._settings.temp_dir) as folder,
        ):
            path = folder / "source"
            received = await _write(body, path, upload.size_bytes)
            if received != upload.size_bytes:
                raise _incomplete(received, upload.size_bytes)
            # Once more: it may have become a task meanwhile, whose recording stays as it is.
            await self._check(upload_id, token)
            await self._store.put_file(source_key(upload_id), path, RECORDING_TYPE)

    async def stored(self, owner: str, upload_id: str) -> Source:
        """Return an upload's recording, which a task is to be made of.

        Raises:
            NotFound: There is no such upload, or its time is over (code `upload_not_found`).
            Conflict: Its bytes have not arrived, or not all of them (code `upload_incomplete`).
            InvalidInput: There are more than accepted (code `file_too_large`).
        """
        upload = await self._uploads.get(upload_id)
        if upload is None or upload.owner != owner:
            raise NotFound(
                "There is no direct upload with this id, or its time is over. Begin another one.",
                code="upload_not_found",
            )
        key = source_key(upload_id)
        try:
            size = (await self._store.stat(key)).size_bytes
        except ObjectNotFound as error:
            raise _incomplete(0, upload.size_bytes) from error
        if size > self._settings.max_upload_bytes:
            await self._store.delete(key)
            raise too_large(self._settings.max_upload_bytes)
        if size != upload.size_bytes:
            raise _incomplete(size, upload.size_bytes)
        return Source(object=key, file_name=upload.file_name, size_bytes=size)

    async def forget(self, upload_id: str) -> None:
        """Close an upload that has become a task."""
        await self._uploads.delete(upload_id)

    async def _check(self, upload_id: str, token: str) -> DirectUpload:
        """Return the upload whose address this is."""
        upload = await self._uploads.get(upload_id)
        known = (upload.token_hash if upload else None) or ""
        is_right = hmac.compare_digest(known.encode(), _hash(token).encode())
        if upload is None or not is_right or await self._jobs.get_job(upload_id) is not None:
            raise Forbidden(
                "Nothing can be put here (any more). Begin another direct upload.",
                code="invalid_upload_address",
            )
        return upload


async def _write(body: AsyncIterator[bytes], path: Path, most: int) -> int:
    """Write what arrives to a file, and return how much it was."""
    received = 0
    with path.open("wb") as file:
        async for block in body:
            received += len(block)
            if received > most:
                raise InvalidInput(
                    f"More arrives than the {most} bytes announced.", code="file_too_large"
                )
            await asyncio.to_thread(file.write, block)
    return received


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _incomplete(received: int, announced: int) -> Conflict:
    return Conflict(
        f"Of {announced} bytes announced, {received} are here. Put the whole recording to the "
        "upload's address first.",
        code="upload_incomplete",
        announced=announced,
        received=received,
    )
