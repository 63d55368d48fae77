"""Whether there is room for another task: a limit of open ones, and a disk that is not full."""

from __future__ import annotations

import asyncio
import shutil

from core.config import Settings
from core.errors import StorageUnavailable, TooManyTasks
from repositories.task_repository import TaskRepository


class Admission:
    """Turns clients away, for now, before their recordings are received."""

    def __init__(self, settings: Settings, jobs: TaskRepository) -> None:
        self._settings = settings
        self._jobs = jobs

    async def check(self, owner: str) -> None:
        """Refuse another task where there is no room for it.

        Requests that come at the same moment may pass together: the limits are exceeded by them.

        Raises:
            TooManyTasks: So many have not ended yet (retryable; codes `too_many_tasks`,
                `server_busy`).
            StorageUnavailable: The disk is nearly full (retryable; code `disk_full`).
            DatabaseUnavailable: MongoDB cannot be reached (retryable).
        """
        own = self._settings.max_open_tasks_per_owner
        if await self._jobs.count_open(owner) >= own:
            raise TooManyTasks(
                f"You have {own} tasks that have not ended yet, the most allowed here. "
                "Try again when some have.",
                limit=own,
            )
        if await self._jobs.count_open() >= self._settings.max_open_tasks:
            raise TooManyTasks(
                "The server has as much to do as it takes. Try again later.", code="server_busy"
            )
        usage = await asyncio.to_thread(shutil.disk_usage, self._settings.temp_dir)
        if usage.free < self._settings.min_free_disk_bytes:
            raise StorageUnavailable(
                "The server's disk is nearly full. Its operator has to free some space.",
                code="disk_full",
            )
