"""What can go wrong with a recording or an engine.

InvalidInput                  (core.errors; permanent)
└── InvalidAudio              this recording cannot be used, now or later
TransientError                (core.errors; retryable)
└── EngineFailed              ffmpeg or whisper.cpp crashed, hung or was killed
Misconfigured                 (core.errors; permanent)
└── EngineMissing             an executable or a model is not where the settings say
PermanentError
└── IncompleteResults         the merger was given chunks that do not fit together (a bug)
"""

from core.errors import InvalidInput, Misconfigured, PermanentError, TransientError


class InvalidAudio(InvalidInput):
    """The recording cannot be used: empty, not audio, damaged, or too long. Not retryable."""

    code = "invalid_audio"


class EngineFailed(TransientError):
    """A subprocess crashed, was killed, or ran out of time. Retryable."""

    code = "engine_failed"


class EngineMissing(Misconfigured):
    """An executable or a model is missing. Not retryable before an operator installs it."""

    code = "engine_missing"


class IncompleteResults(PermanentError):
    """Chunks or their results are missing, doubled or out of order. Not retryable."""

    code = "incomplete_results"
