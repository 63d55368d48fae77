"""Logging for every process: one configuration, bound ids, and `logged_operation`.

Log lines carry whatever was bound with `bound(...)` (request id, job id, stage). Messages are
fixed strings and data travels in fields, so that transcript text is never a format string.
May import `core.errors` only.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, Literal

from loguru import logger

from core.errors import AppError

if TYPE_CHECKING:
    from loguru import Record

Translate = Callable[[Exception], AppError | None]

__all__ = ["Translate", "bound", "configure_logging", "logged_operation", "logger"]

_NOISY_LIBRARIES = ("pymongo", "urllib3", "httpx", "httpcore", "asyncio", "multipart", "pydub")


def configure_logging(
    level: str = "INFO", log_format: Literal["text", "json"] = "text", *, process: str = "stt"
) -> None:
    """Send loguru's and the standard library's records to stderr in one format.

    Args:
        level: Least severe level shown: DEBUG, INFO, WARNING or ERROR.
        log_format: `text` for people, `json` (one object a line) for collectors.
        process: Name of this process, shown on every line.
    """
    logger.remove()
    logger.configure(extra={"process": process})
    options: dict[str, Any] = {"level": level, "backtrace": False, "diagnose": False}
    if log_format == "json":
        logger.add(sys.stderr, serialize=True, format="{message}", **options)
    else:
        logger.add(sys.stderr, format=_readable, **options)
    logging.basicConfig(handlers=[_ToLoguru()], level=logging.INFO, force=True)
    for name in _NOISY_LIBRARIES:
        logging.getLogger(name).setLevel(logging.WARNING)


def bound(**fields: Any) -> AbstractContextManager[None]:
    """Add fields to every line logged inside the `with` block, in this task or thread."""
    return logger.contextualize(**fields)


@contextmanager
def logged_operation(
    name: str, *, translate: Translate | None = None, quiet: bool = False, **fields: Any
) -> Iterator[dict[str, Any]]:
    """Log an operation's start, its success with duration or its failure, and translate errors.

    Use it with `with`, never as a decorator: around an `async def` it would end before the body
    runs. A failure is logged where it happens and once: an error that passes through an outer
    operation is re-raised silently.

    Args:
        name: What is being done, in the imperative: "store object".
        translate: Maps a driver's exception to one of ours; None leaves it as it is.
        quiet: Log the success as DEBUG, for what happens many times a second.
        fields: Facts to log beside the name.

    Yields:
        A dict; what the body puts into it is logged with the success.
    """
    outcome: dict[str, Any] = {}
    started = time.perf_counter()
    log = logger.bind(**fields)
    log.opt(depth=2).debug("{}: started", name)
    try:
        yield outcome
    except Exception as error:
        ours = error if isinstance(error, AppError) else (translate(error) if translate else None)
        if not error.__dict__.get("logged"):
            duration_ms = _milliseconds_since(started)
            if ours is None:
                log.opt(depth=2, exception=True).error("{}: failed after {} ms", name, duration_ms)
            else:
                text = "{}: failed after {} ms: {} ({})"
                log.opt(depth=2).warning(text, name, duration_ms, ours.message, ours.error_code)
            error.__dict__["logged"] = True  # this way, because minio freezes its errors
        if ours is None or ours is error:
            raise
        ours.logged = True
        raise ours from error
    duration_ms = _milliseconds_since(started)
    done = log.bind(duration_ms=duration_ms, **outcome).opt(depth=2)
    done.log("DEBUG" if quiet else "INFO", "{}: done in {} ms", name, duration_ms)


def _milliseconds_since(started: float) -> float:
    return round((time.perf_counter() - started) * 1000, 1)


def _readable(record: Record) -> str:
    """The text format: time, level, process, message, then the bound fields as key=value."""
    extra = {k: v for k, v in record["extra"].items() if k not in ("process", "fields")}
    record["extra"]["fields"] = "".join(f" {key}={value}" for key, value in extra.items())
    return (
        "{time:YYYY-MM-DD HH:mm:ss.SSS} {level: <7} [{extra[process]}] {message}"
        "{extra[fields]}\n{exception}"
    )


class _ToLoguru(logging.Handler):
    """Hands the standard library's log records (uvicorn, rq, minio) to loguru."""

    def emit(self, record: logging.LogRecord) -> None:
        level: str | int = record.levelname
        try:
            logger.level(record.levelname)
        except ValueError:
            level = record.levelno
        logger.opt(exception=record.exc_info).log(level, "{}", record.getMessage())
