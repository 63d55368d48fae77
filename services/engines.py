"""Finding the engines that the settings ask for."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from core.config import PROJECT_ROOT, Settings
from worker.diarizer import DiarizerOptions
from worker.errors import EngineMissing
from worker.pipeline_source import is_hub_name
from worker.transcriber import WhisperTranscriber

# Where `scripts/build_whisper.py` puts what it builds.
BUILT_WHISPER = PROJECT_ROOT / ".tools" / "whisper-cli"
# What DIARIZATION_PIPELINE is set to for the pipeline that is part of the repository.
DEMO_PIPELINE = "demo"


def find_whisper(settings: Settings) -> str:
    """Return the configured whisper-cli, else the one built here, else the system's.

    Raises:
        EngineMissing: There is none.
    """
    if settings.whisper_executable:
        return settings.whisper_executable
    if BUILT_WHISPER.exists():
        return str(BUILT_WHISPER)
    if found := shutil.which("whisper-cli"):
        return found
    raise EngineMissing(
        "whisper-cli is missing. Build it with `make setup`, or set WHISPER_EXECUTABLE."
    )


def make_transcriber(settings: Settings, model: Path) -> WhisperTranscriber:
    """Return a transcriber whose threads, over all consumers, fill the machine once."""
    processors = os.cpu_count() or 1
    threads = settings.whisper_threads or max(1, processors // settings.consumer_concurrency)
    return WhisperTranscriber(
        find_whisper(settings),
        model,
        threads=threads,
        beam_size=settings.whisper_beam_size,
        chunk_timeout_seconds=settings.chunk_timeout_seconds,
    )


def diarizer_options(settings: Settings) -> DiarizerOptions:
    """Return what the settings say about the diarization pipeline and where to run it."""
    pipeline = settings.diarization_pipeline
    if pipeline == DEMO_PIPELINE:
        pipeline = str(settings.models_dir / "demo" / "diarization")
    elif (PROJECT_ROOT / pipeline).exists():
        pipeline = str(PROJECT_ROOT / pipeline)
    token = settings.hf_token
    return DiarizerOptions(
        pipeline=pipeline,
        token=token.get_secret_value() if token else None,
        device=settings.diarization_device,
        step=settings.diarization_step,
        batch_size=settings.diarization_batch_size,
        threads=settings.diarization_threads,
    )


def pipeline_name(settings: Settings) -> str:
    """Return what transcripts call the diarization pipeline: never the path of a folder."""
    options = diarizer_options(settings)
    if settings.diarization_pipeline == DEMO_PIPELINE or is_hub_name(options.pipeline):
        return settings.diarization_pipeline
    return Path(options.pipeline).name
