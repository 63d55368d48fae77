"""Which language a recording is in, by its first words."""

from __future__ import annotations

import asyncio
import tempfile
import wave
from pathlib import Path
from typing import BinaryIO

from core.config import Settings
from core.logger import logged_operation
from core.storage.folder import translate_os_error
from core.workspace import working_folder
from services.model_service import ModelService
from services.upload_service import RequestedOptions, Upload
from worker import media
from worker.chunking import FRAME_SECONDS, find_speech, read_levels
from worker.constants import MAX_CHUNK_SECONDS, SAMPLE_RATE

# Films begin with silence, now and then for minutes.
_SEARCHED_SECONDS = 600.0
# Nobody wants to read it: it is kept for those who ask why.
_KEPT_HOURS = 1.0


class LanguageService:
    """Prepares recordings for finding out their language."""

    def __init__(self, settings: Settings, models: ModelService) -> None:
        self._settings = settings
        self._models = models

    def only_language(self) -> str | None:
        """Return the one language that the server's model knows; None if it knows several.

        Raises:
            InvalidInput: The model is not installed (code `unknown_model`).
        """
        return "en" if self._models.get(self._settings.whisper_model).english_only else None

    def options(self) -> RequestedOptions:
        """Return what is asked for a clip whose language is wanted."""
        return RequestedOptions(language="auto", keep_hours=_KEPT_HOURS)

    async def first_speech(self, upload: Upload) -> Upload:
        """Return the 30 s of a recording that follow its first sound, as a new temporary file.

        That is as much as Whisper hears at once; the caller closes it.

        Raises:
            InvalidAudio: It is no recording, or nothing of it can be decoded.
            EngineFailed: ffmpeg hung or was killed (retryable).
            StorageUnavailable: The disk is full (retryable).
        """
        ffmpeg = media.find_ffmpeg(self._settings.ffmpeg_executable)
        limit = self._settings.max_duration_seconds
        with (
            logged_operation("cut first speech", translate=translate_os_error),
            working_folder(self._settings.temp_dir) as folder,
        ):
            await media.probe(ffmpeg, upload.file, max_seconds=limit)
            wav = folder / "beginning.wav"
            await media.decode_beginning(ffmpeg, upload.file, wav, seconds=_SEARCHED_SECONDS)
            return Upload(await asyncio.to_thread(_cut, wav), upload.file_name)


def _cut(wav: Path) -> BinaryIO:
    speech = find_speech(read_levels(wav))
    start = int(speech.argmax()) * FRAME_SECONDS if speech.any() else 0.0
    clip = tempfile.TemporaryFile()  # noqa: SIM115 - handed to the caller
    with wave.open(str(wav)) as source, wave.open(clip, "wb") as target:
        source.setpos(round(start * SAMPLE_RATE))
        target.setparams(source.getparams())
        target.writeframes(source.readframes(round(MAX_CHUNK_SECONDS * SAMPLE_RATE)))
    return clip
