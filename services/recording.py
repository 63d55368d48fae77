"""What is known of a recording that has been received: a name to show, and what its bytes say."""

from __future__ import annotations

import hashlib
from typing import BinaryIO

from core.config import Settings
from repositories.models import Source
from worker import media

# Whatever the client calls it: nothing of a recording is ever served as something to run.
RECORDING_TYPE = "application/octet-stream"

_HASH_BLOCK_BYTES = 1 << 20
_MAX_FILE_NAME = 255


def shown_name(sent: str | None) -> str:
    """Return a file name that somebody sent as one that is fit to be shown."""
    name = (sent or "").replace("\\", "/").rpartition("/")[2]
    return "".join(c for c in name if c.isprintable())[:_MAX_FILE_NAME] or "recording"


def measure(file: BinaryIO) -> tuple[int, str]:
    """Return a file's size and SHA-256, read in blocks."""
    file.seek(0)
    digest, size = hashlib.sha256(), 0
    while block := file.read(_HASH_BLOCK_BYTES):
        digest.update(block)
        size += len(block)
    return size, digest.hexdigest()


async def look_into(settings: Settings, file: BinaryIO, source: Source) -> Source:
    """Return what is stored of a recording with what its headers say.

    Args:
        settings: The longest recording accepted.
        file: A real, seekable file.
        source: What is known of it already.

    Raises:
        InvalidAudio: It cannot be used, or is too long.
        EngineFailed: ffmpeg hung or was killed (retryable).
    """
    ffmpeg = media.find_ffmpeg(settings.ffmpeg_executable)
    info = await media.probe(ffmpeg, file, max_seconds=settings.max_duration_seconds)
    found = {"format": info.container, "codec": info.codec, "duration": info.duration}
    return source.model_copy(update=found)
