"""Idempotency-Keys: a client that sends an upload again, not knowing its fate, gets one task."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta

from core.clock import utc_now
from core.errors import AppError, Conflict, InvalidInput
from repositories.models import JobModel, UploadKey
from repositories.task_repository import TaskRepository
from repositories.upload_key_repository import UploadKeyRepository

# An API process that vanished in the middle of an upload blocks its key for so long.
_LEASE_SECONDS = 30.0
# As long as other services remember them.
_KEPT_HOURS = 24


class UploadKeys:
    """Claims keys.

    Every method may raise `DatabaseUnavailable` (retryable).
    """

    def __init__(self, keys: UploadKeyRepository, jobs: TaskRepository) -> None:
        self._keys = keys
        self._jobs = jobs

    async def has_task(self, owner: str, key: str) -> bool:
        """Return whether a task has been made with a key."""
        seen = await self._keys.get(_key_id(owner, key))
        return seen is not None and await self._jobs.get_job(seen.job_id) is not None

    @asynccontextmanager
    async def claimed(
        self, owner: str, key: str, fingerprint: str, job_id: str
    ) -> AsyncIterator[JobModel | None]:
        """Hold a key while the task `job_id` is made; yield the task that it has made before.

        Args:
            owner: Keys of different owners have nothing to do with each other.
            key: The client's.
            fingerprint: Of what is asked for.
            job_id: The task about to be made.

        Raises:
            InvalidInput: The key was used for something else (code `idempotency_key_reused`).
            Conflict: Another request holds it (code `idempotency_key_in_use`).
        """
        now = utc_now()
        ours = UploadKey(
            id=_key_id(owner, key),
            fingerprint=fingerprint,
            job_id=job_id,
            holder=uuid.uuid4().hex,
            lease_until=now + timedelta(seconds=_LEASE_SECONDS),
            expires_at=now + timedelta(hours=_KEPT_HOURS),
        )
        earlier = await self._claim(ours)
        if earlier is not None:
            yield earlier
            return
        renewing = asyncio.create_task(self._keep(ours))
        try:
            yield None
        except BaseException:
            with suppress(AppError):
                await asyncio.shield(self._keys.release(ours))
            raise
        else:
            # The task speaks for the key from now on; once it is deleted, nothing does.
            with suppress(AppError):
                await self._keys.renew(ours, 0)
        finally:
            renewing.cancel()

    async def _claim(self, ours: UploadKey) -> JobModel | None:
        """Take the key, or return the task that was made with it."""
        seen = await self._keys.claim(ours)
        if seen is None:
            return None
        job = await self._jobs.get_job(seen.job_id)
        is_held = job is None and seen.lease_until > utc_now()
        if (job is not None or is_held) and seen.fingerprint != ours.fingerprint:
            raise InvalidInput(
                "This Idempotency-Key was used with another recording or other options. "
                "Use a new key for a new task.",
                code="idempotency_key_reused",
            )
        if job is not None:
            return job
        if is_held or not await self._keys.take_over(seen, ours):
            raise Conflict(
                "A request with this Idempotency-Key is being worked on. Ask again in a moment.",
                code="idempotency_key_in_use",
            )
        return None

    async def _keep(self, key: UploadKey) -> None:
        while True:
            await asyncio.sleep(_LEASE_SECONDS / 3)
            with suppress(AppError):
                await self._keys.renew(key, _LEASE_SECONDS)


def _key_id(owner: str, key: str) -> str:
    return hashlib.sha256(f"{owner}\n{key}".encode()).hexdigest()
