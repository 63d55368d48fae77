"""The diarizer that a consumer keeps, as its work-horses find it: they are forks and inherit it."""

from __future__ import annotations

from core.config import Settings
from services.engines import diarizer_options
from worker.diarizer_process import DiarizerClient, DiarizerProcess
from worker.errors import EngineFailed

_kept: DiarizerProcess | None = None


def keep_diarizer(settings: Settings) -> DiarizerProcess:
    """Make this process the one that keeps a diarizer; nothing is started yet."""
    global _kept  # RQ calls handlers by name: nothing can be handed to them
    _kept = DiarizerProcess(
        diarizer_options(settings),
        settings.temp_dir,
        jobs_per_process=settings.diarization_jobs_per_process,
        log_level=settings.log_level,
        log_format=settings.log_format,
    )
    return _kept


def diarizer_client() -> DiarizerClient:
    """Return a client of the consumer's diarizer.

    Raises:
        EngineFailed: This consumer keeps none (retryable: another may).
    """
    if _kept is None:
        raise EngineFailed("This consumer serves no diarization.", code="diarization_failed")
    return DiarizerClient(_kept.socket_path)
