"""The errors that cross layers, and what they promise.

    AppError
    ├── TransientError            retrying the same call may succeed
    │   ├── DatabaseUnavailable   MongoDB cannot be reached or did not answer in time
    │   ├── StorageUnavailable    the object store cannot be reached, or its disk is full
    │   ├── QueueUnavailable      Redis cannot be reached
    │   ├── Unreachable           somebody else's server cannot be reached, or fails
    │   └── TooManyTasks          a limit of open tasks, or of requests, is reached
    └── PermanentError            the same call will fail again
        ├── Unauthenticated       there is no API key, or it is not valid
        ├── Forbidden             the API key does not allow it
        ├── NotFound              no such job, object or route
        ├── Conflict              the job is not in a state that allows it
        ├── InvalidInput          the request or the recording cannot be used as it is
        └── Misconfigured         an operator has to change something first

`worker.errors` adds the pipeline's own. HTTP statuses are assigned in `internal.api.errors` alone.
This module imports nothing of the project.
"""

from __future__ import annotations

from typing import Any, ClassVar


class AppError(Exception):
    """Base of every error that the project raises on purpose.

    Args:
        message: One or two sentences for a person: what happened, to which input, what to do next.
        code: Stable machine-readable name; the class's own where omitted.
        details: Further facts for the client. Never secrets, paths or transcript text.
    """

    code: ClassVar[str] = "internal_error"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, code: str | None = None, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.error_code = code or self.code
        self.details = details
        self.logged = False  # set by logged_operation, so that a failure is logged once


class TransientError(AppError):
    """Something outside failed for now; the same call may succeed later."""

    code = "temporarily_unavailable"
    retryable = True


class PermanentError(AppError):
    """The same call will fail again until the input or the configuration changes."""


class DatabaseUnavailable(TransientError):
    """MongoDB cannot be reached or did not answer in time."""

    code = "database_unavailable"


class StorageUnavailable(TransientError):
    """The object store cannot be reached, or has no room."""

    code = "storage_unavailable"


class QueueUnavailable(TransientError):
    """Redis cannot be reached."""

    code = "queue_unavailable"


class Unreachable(TransientError):
    """A server that a client named cannot be reached, or fails."""

    code = "url_unreachable"


class TooManyTasks(TransientError):
    """As many tasks are open, or requests were made, as are allowed."""

    code = "too_many_tasks"


class Unauthenticated(PermanentError):
    """The request has no API key, or one that is not valid (any more)."""

    code = "invalid_api_key"


class Forbidden(PermanentError):
    """The request's API key, or where it comes from, does not allow it."""

    code = "forbidden"


class NotFound(PermanentError):
    """The thing asked for does not exist (or belongs to somebody else)."""

    code = "not_found"


class Conflict(PermanentError):
    """The current state does not allow what was asked."""

    code = "conflict"


class InvalidInput(PermanentError):
    """The request, or the recording in it, cannot be used as it is."""

    code = "invalid_input"


class Misconfigured(PermanentError):
    """The server lacks something that only its operator can provide."""

    code = "misconfigured"
