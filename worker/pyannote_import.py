"""Importing pyannote.audio on any install of torch. The one place that knows how.

torch takes seconds and hundreds of megabytes to import, so nothing else imports it at the top of a
module: only the process that diarizes calls `import_pyannote`.
"""

from __future__ import annotations

import importlib
import os
import sys
import types
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, TypeVar

from core.logger import logged_operation, logger
from worker.errors import EngineMissing

_Function = TypeVar("_Function", bound=Callable[..., Any])

INSTALL_HINT = "Install them with `pip install -r requirements.txt`."


def check_packages() -> None:
    """Raise `EngineMissing` unless all that diarization needs is installed; imports nothing."""
    missing = [name for name in ("torch", "pyannote.audio") if not _is_installed(name)]
    if missing:
        raise EngineMissing(
            f"Speaker labels need {' and '.join(missing)}. {INSTALL_HINT}",
            code="diarization_not_installed",
        )


def import_pyannote() -> types.ModuleType:
    """Import `pyannote.audio`, with its telemetry off.

    Raises:
        EngineMissing: It, or torch, is not installed or cannot be loaded.
    """
    check_packages()
    os.environ["PYANNOTE_METRICS_ENABLED"] = "0"
    with logged_operation("import pyannote.audio", quiet=True), warnings.catch_warnings():
        # That torchcodec cannot decode files matters not: audio is handed over decoded.
        warnings.simplefilter("ignore")
        try:
            _stand_in_for_torchaudio_extension()
            return importlib.import_module("pyannote.audio")
        except (ImportError, OSError) as error:
            logger.opt(exception=True).debug("pyannote.audio cannot be loaded")
            raise EngineMissing(
                f"pyannote.audio cannot be loaded ({type(error).__name__}). {INSTALL_HINT}",
                code="diarization_not_installed",
            ) from error


def _is_installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # of the package above it
        return False


def _stand_in_for_torchaudio_extension() -> None:
    """Keep torchaudio from loading its native extension where torch has no CUDA.

    The wheel on PyPI is linked to CUDA libraries, which a CPU build of torch does not bring:
    `import torchaudio` then fails. pyannote uses only parts that are pure Python.
    """
    name = "torchaudio._extension"
    if importlib.import_module("torch").version.cuda is not None or name in sys.modules:
        return
    stand_in: Any = types.ModuleType(name)
    stand_in._IS_TORCHAUDIO_EXT_AVAILABLE = False
    stand_in._IS_ALIGN_AVAILABLE = False
    stand_in._check_cuda_version = lambda: None
    stand_in.fail_if_no_align = _pass_through
    sys.modules[name] = stand_in


def _pass_through(function: _Function) -> _Function:
    return function
