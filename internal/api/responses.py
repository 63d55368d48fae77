"""The error answers of routes, for their description."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from internal.api.schemas import ErrorBody

_MEANINGS = {
    400: "An option or the recording cannot be used.",
    403: "The request is not allowed.",
    404: "There is no such task.",
    409: "The task is not in a state that allows this.",
    413: "The file is too large, or lasts too long.",
    415: "The file is not a recording.",
    422: "An option or the recording cannot be used.",
    429: "There are too many open tasks. Retry-After says when to try again.",
    500: "The recording could not be transcribed, now or later.",
    503: "A server that this needs is away. Retry-After says when to try again.",
}


def errors(
    *statuses: int, model: type[BaseModel] = ErrorBody, **meanings: str
) -> dict[int | str, dict[str, Any]]:
    """Return the error answers of a route.

    Args:
        statuses: Which it can give.
        model: Their shape.
        meanings: Of single statuses, as `status_404`, where the usual one does not fit.
    """
    return {
        status: {
            "model": model,
            "description": meanings.get(f"status_{status}", _MEANINGS[status]),
        }
        for status in statuses
    }
