"""Where a diarization pipeline comes from: a folder, or Hugging Face with its gates.

Whatever is missing becomes an error of its own that says what to do.
"""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path
from typing import Any

from core.errors import AppError
from core.logger import logged_operation, logger
from worker.errors import EngineFailed, EngineMissing
from worker.pyannote_import import check_packages, import_pyannote

CONFIG_NAME = "config.yaml"
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_TOKEN_PAGE = "https://hf.co/settings/tokens"  # noqa: S105 - a page, no secret # nosec B105


def is_hub_name(pipeline: str) -> bool:
    """Whether a setting names a pipeline on Hugging Face rather than a folder."""
    return _HUB_NAME.fullmatch(pipeline) is not None and not Path(pipeline).exists()


def load_pipeline(pipeline: str, token: str | None) -> Any:
    """Return a pyannote `SpeakerDiarization`, fetched if need be.

    Args:
        pipeline: A folder with a `config.yaml`, or a name such as
            `pyannote/speaker-diarization-community-1`.
        token: For Hugging Face; those pipelines are gated.

    Raises:
        EngineMissing: A package (code `diarization_not_installed`), the token
            (`hf_token_missing`), the acceptance of the licence (`hf_licence_not_accepted`) or the
            pipeline itself (`diarization_pipeline_missing`) is missing.
        EngineFailed: Hugging Face cannot be reached (retryable).
    """
    if not is_hub_name(pipeline):
        _check_folder(Path(pipeline))
    pyannote = import_pyannote()
    from pyannote.audio.pipelines import SpeakerDiarization

    # pyannote prints advice to stdout before it raises; what we raise says the same and more.
    with (
        logged_operation("read pipeline", translate=_translator(pipeline, token), quiet=True),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        loaded = pyannote.Pipeline.from_pretrained(pipeline, token=token)
    if not isinstance(loaded, SpeakerDiarization):
        raise EngineMissing(
            f"{_shown(pipeline)} is not a speaker diarization pipeline of pyannote.audio 4.",
            code="diarization_pipeline_missing",
        )
    loaded.legacy = False  # such pipelines return the turns alone, without the exclusive ones
    return loaded


def _check_folder(folder: Path) -> None:
    """Raise `EngineMissing` unless a folder holds a pipeline."""
    if not (folder / CONFIG_NAME).is_file():
        raise EngineMissing(
            f"There is no diarization pipeline in {folder.name!r}: it has no {CONFIG_NAME}. "
            "Set DIARIZATION_PIPELINE to a folder that has, to a name on Hugging Face, or to demo.",
            code="diarization_pipeline_missing",
        )


def check_pipeline(pipeline: str, token: str | None) -> None:
    """Say what keeps a pipeline from being loaded, without loading or fetching it.

    One that was fetched before needs no access any more.

    Raises:
        EngineMissing: A package, the token, the acceptance of the licence or the pipeline itself
            is missing.
        EngineFailed: Hugging Face cannot be reached (retryable).
    """
    check_packages()
    if not is_hub_name(pipeline):
        _check_folder(Path(pipeline))
        return
    from huggingface_hub import HfApi, try_to_load_from_cache

    if isinstance(try_to_load_from_cache(pipeline, CONFIG_NAME), str):
        return
    with logged_operation(
        "check access", translate=_translator(pipeline, token), quiet=True, pipeline=pipeline
    ):
        HfApi().auth_check(pipeline, token=token)


def _translator(pipeline: str, token: str | None) -> Any:
    """Return a map from the loaders' errors, of which there is no end, to ours."""

    def translate(error: Exception) -> AppError:
        from huggingface_hub import errors

        unreachable = EngineFailed(
            f"{pipeline} is not on this machine and Hugging Face cannot be reached "
            f"({type(error).__name__}).",
            code="hf_unreachable",
        )
        match error:
            case errors.LocalEntryNotFoundError():  # a kind of EntryNotFoundError: before that one
                return unreachable
            case errors.GatedRepoError() | errors.RepositoryNotFoundError() if not token:
                return EngineMissing(
                    f"Fetching {_repository(error, pipeline)} needs a token. Create one at "
                    f"{_TOKEN_PAGE} and set HF_TOKEN.",
                    code="hf_token_missing",
                )
            case errors.GatedRepoError():
                repository = _repository(error, pipeline)
                return EngineMissing(
                    f"The conditions of {repository} have not been accepted. Log in at "
                    f"https://hf.co/{repository} and accept them, with the account of HF_TOKEN.",
                    code="hf_licence_not_accepted",
                )
            case errors.RepositoryNotFoundError() | errors.EntryNotFoundError():
                return EngineMissing(
                    f"Hugging Face has no pipeline {_repository(error, pipeline)} that this "
                    "HF_TOKEN may read. Check DIARIZATION_PIPELINE and the token.",
                    code="diarization_pipeline_missing",
                )
            case errors.HfHubHTTPError() | errors.OfflineModeIsEnabled():
                return unreachable
            case _ if type(error).__module__.startswith("httpx"):  # whichever the hub's client has
                return unreachable
            case _:
                logger.opt(exception=True).debug("the pipeline cannot be loaded")
                return EngineMissing(
                    f"The diarization pipeline {_shown(pipeline)} cannot be loaded "
                    f"({type(error).__name__}). The log, at level DEBUG, has the details.",
                    code="diarization_pipeline_missing",
                )

    return translate


def _shown(pipeline: str) -> str:
    """Return a pipeline's name as messages show it: clients need not know our folders."""
    return pipeline if is_hub_name(pipeline) else Path(pipeline).name


def _repository(error: Any, pipeline: str) -> str:
    """Return which repository was refused: a pipeline's models may be gated on their own."""
    response = getattr(error, "response", None)
    found = re.match(r"/(?:api/models/)?([\w.-]+/[\w.-]+)", response.url.path) if response else None
    return found.group(1) if found else pipeline
