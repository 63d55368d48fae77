"""People who may speak in a recording, by clips of their voices: checked, kept, and fetched again.

The clips are kept with the recording for as long as it is, since its speakers may be looked for
again.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from core.errors import InvalidInput
from core.logger import logged_operation
from core.storage import ObjectStore
from repositories.models import JobModel
from services.lifecycle import known_speaker_key
from worker import media
from worker.chunking import FRAME_SECONDS, find_speech, read_levels
from worker.errors import InvalidAudio
from worker.known_voices import KnownVoice, KnownVoices

MOST_KNOWN_SPEAKERS = 16
LONGEST_NAME = 100
# Half a minute of studio sound, uncompressed: 48 kHz, stereo, 24 bits.
MAX_CLIP_BYTES = 10 * 1024 * 1024
SHORTEST_CLIP_SECONDS, LONGEST_CLIP_SECONDS = 1.0, 30.0

# Encoders pad: a clip that was cut to the longest allowed is a little longer.
_PADDING_SECONDS = 0.25
_LEAST_SPEECH_SECONDS = 0.5
_BLOCK_BYTES = 1 << 20
_BOUNDS = f"It has to last {SHORTEST_CLIP_SECONDS:g} to {LONGEST_CLIP_SECONDS:g} s."
# Names stand in subtitles and tables: no line breaks and the like, and no halves of characters.
_NOT_IN_NAMES = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


@dataclass(frozen=True)
class KnownSpeaker:
    """A person who may speak in a recording, and how they sound.

    Attributes:
        name: To be shown.
        clip: Some seconds of their voice alone, in any format that ffmpeg reads.
    """

    name: str
    clip: bytes | BinaryIO


def check_names(names: Sequence[str], *, diarize: bool) -> list[str]:
    """Return the names as they will be shown.

    Raises:
        InvalidInput: Nobody asked for speakers, there are too many, or one cannot be used or is
            there twice (code `invalid_known_speakers`).
    """
    shown = [name.strip() for name in names]
    if shown and not diarize:
        raise _refusal("Known speakers are of use with diarize=true only.")
    if len(shown) > MOST_KNOWN_SPEAKERS:
        raise _refusal(f"At most {MOST_KNOWN_SPEAKERS} known speakers can be looked for.")
    for number, name in enumerate(shown, start=1):
        if not 1 <= len(name) <= LONGEST_NAME or _NOT_IN_NAMES.search(name):
            raise _refusal(
                f"The name of known speaker {number} cannot be used. "
                f"A name has 1 to {LONGEST_NAME} characters on one line."
            )
        if shown.index(name) != number - 1:
            raise _refusal(f"There are two known speakers named {name!r}. Give one clip of each.")
    return shown


def digest_clips(known: Sequence[KnownSpeaker]) -> list[str]:
    """Return the SHA-256 of each clip: requests with other clips are other requests.

    Raises:
        InvalidInput: One is too large (code `invalid_known_speaker_clip`).
    """
    return [_digest(person) for person in known]


async def normalise_clips(ffmpeg: str, known: Sequence[KnownSpeaker], folder: Path) -> list[Path]:
    """Write each clip into a folder as 16 kHz mono 16-bit WAV.

    Raises:
        InvalidInput: One cannot be used; the message says which and why (code
            `invalid_known_speaker_clip`, with `speaker` and `reason` in the details).
        EngineFailed: ffmpeg hung or was killed (retryable).
    """
    with logged_operation("normalise clips", quiet=True, clips=len(known)):
        return [
            await _normalise(ffmpeg, person, folder / f"known-speaker-{number}")
            for number, person in enumerate(known)
        ]


async def store_clips(store: ObjectStore, job_id: str, clips: Sequence[Path]) -> None:
    """Keep the clips of a job's known speakers.

    Raises:
        StorageUnavailable: The object store cannot be reached (retryable).
    """
    for number, clip in enumerate(clips):
        await store.put_file(known_speaker_key(job_id, number), clip, "audio/wav")


async def fetch_voices(
    store: ObjectStore, job: JobModel, folder: Path, threshold: float
) -> KnownVoices | None:
    """Return the people whom a job's client knows, with their clips in a folder; None for nobody.

    Raises:
        NotFound: A clip is gone; the job is being deleted.
        StorageUnavailable: The object store cannot be reached (retryable).
    """
    people = []
    for number, name in enumerate(job.options.known_speakers):
        clip = folder / f"known-speaker-{number}.wav"
        await store.download(known_speaker_key(job.id, number), clip)
        people.append(KnownVoice(name, clip))
    return KnownVoices(tuple(people), threshold) if people else None


def _digest(person: KnownSpeaker) -> str:
    digest, size = hashlib.sha256(), 0
    clip = _opened(person)
    while block := clip.read(_BLOCK_BYTES):
        digest.update(block)
        size += len(block)
        if size > MAX_CLIP_BYTES:
            limit = MAX_CLIP_BYTES // 1024**2
            raise _unusable(person, f"It has more than {limit} MiB.", reason="file_too_large")
    return digest.hexdigest()


async def _normalise(ffmpeg: str, person: KnownSpeaker, stem: Path) -> Path:
    received, wav = stem.with_suffix(".received"), stem.with_suffix(".wav")
    await asyncio.to_thread(_write, person, received)
    limit = LONGEST_CLIP_SECONDS + _PADDING_SECONDS
    try:
        with received.open("rb") as file:
            info = await media.probe(ffmpeg, file, max_seconds=limit)
            audio = await media.normalise(
                ffmpeg, file, wav, max_seconds=limit, declared=info.duration
            )
    except InvalidAudio as error:
        too_long = error.error_code == "audio_too_long"
        why = _BOUNDS if too_long else error.message
        raise _unusable(person, why, reason=error.error_code) from error
    if audio.duration < SHORTEST_CLIP_SECONDS:
        raise _unusable(person, _BOUNDS, reason="audio_too_short")
    speech = find_speech(read_levels(wav))
    if speech.sum() * FRAME_SECONDS < _LEAST_SPEECH_SECONDS:
        raise _unusable(person, "There is no speech in it.", reason="no_speech")
    return wav


def _write(person: KnownSpeaker, path: Path) -> None:
    source = _opened(person)
    with path.open("wb") as target:
        while block := source.read(_BLOCK_BYTES):
            target.write(block)


def _opened(person: KnownSpeaker) -> BinaryIO:
    """Return a clip from its beginning."""
    if isinstance(person.clip, bytes):
        return io.BytesIO(person.clip)
    person.clip.seek(0)
    return person.clip


def _refusal(message: str) -> InvalidInput:
    return InvalidInput(message, code="invalid_known_speakers")


def _unusable(person: KnownSpeaker, why: str, **details: Any) -> InvalidInput:
    name = person.name.strip()
    return InvalidInput(
        f"The clip of known speaker {name!r} cannot be used: {why}",
        code="invalid_known_speaker_clip",
        speaker=name,
        **details,
    )
