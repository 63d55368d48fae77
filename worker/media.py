"""Uploaded media: is it audio, how long is it, and its one normal form.

ffmpeg reads everything that clients send. It is run as a subprocess (a crash of a decoder must not
be ours), hears the file as its standard input (no client's file name is ever an argument), and is
told which containers and protocols it may open: a playlist would otherwise make it read other
files. The normal form is 16 kHz mono s16le WAV with a header of exactly 44 bytes.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from core.logger import logged_operation
from worker.constants import SAMPLE_BYTES, SAMPLE_RATE
from worker.errors import EngineFailed, EngineMissing, InvalidAudio
from worker.process import Engine, run

WAV_HEADER_BYTES = 44
BYTES_PER_SECOND = SAMPLE_RATE * SAMPLE_BYTES

CONTAINERS = ("wav", "mp3", "flac", "ogg", "mov", "matroska", "aac", "amr", "aiff", "asf")
ACCEPTED_FORMATS = "wav, mp3, flac, ogg, opus, m4a, mp4, webm, mkv, aac, amr, aiff, wma"

_PROBE_TIMEOUT_SECONDS = 60
# Decoding is at least this many times faster than real time on the slowest machines thought of.
_SLOWEST_DECODING = 5
# How far before the declared end the last packet may lie in an undamaged file.
_TAIL_SECONDS = 2.0
# Decoders round to packets and encoders pad: less than this is not a missing end.
_DURATION_TOLERANCE_SECONDS = 1.0

# From the start of a line: a file's title, which is printed too, may hold the same words.
_DURATION = re.compile(r"^  Duration: (\d+):(\d\d):(\d\d\.\d+)", re.MULTILINE)
_CONTAINER = re.compile(r"^Input #0, (\S+),", re.MULTILINE)
_PICTURES = re.compile(r"^ +Stream #0:\d+.*: Video: (?!.*attached pic)", re.MULTILINE)
_AUDIO = re.compile(r"^ +Stream #0:\d+.*: Audio: (\w+)", re.MULTILINE)
# How ffmpeg says that a duration is the file's size divided by its first packets' bit rate.
_GUESSED = "Estimating duration from bitrate"
_LAST_PACKET = re.compile(r"time=(-?)(\d+):(\d\d):(\d\d\.\d+)")
# RIFF sizes from here on are place-holders of programs that wrote to a pipe.
_UNKNOWN_RIFF_BYTES = 0x7FFF0000
# ffmpeg ends with the low byte of the negative error number.
_DISK_FULL_STATUSES = (256 - errno.ENOSPC, 256 - errno.EDQUOT)


@dataclass(frozen=True)
class MediaInfo:
    """What a file's headers say.

    Attributes:
        container: ffmpeg's name, such as `wav`, `mp3`, `mov`.
        codec: ffmpeg's name, such as `pcm_s16le`, `aac`.
        duration: Seconds, None where the file does not say (ffmpeg's guess is not taken: it is a
            tenth off for AAC, and more where the bit rate varies).
    """

    container: str
    codec: str
    duration: float | None


@dataclass(frozen=True)
class NormalisedAudio:
    """A finished WAV in the normal form.

    Attributes:
        duration: Seconds of decoded audio.
        missing_seconds: How much less that is than the file declares; 0 for undamaged files.
    """

    duration: float
    missing_seconds: float


def find_ffmpeg(configured: str | None = None) -> str:
    """Return the configured ffmpeg, else the system's, else the one in imageio-ffmpeg's wheel.

    Raises:
        EngineMissing: There is none.
    """
    if configured:
        return configured
    if found := shutil.which("ffmpeg"):
        return found
    import imageio_ffmpeg

    try:
        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError as error:
        raise EngineMissing("No ffmpeg found. Install it or set FFMPEG_EXECUTABLE.") from error


async def probe(ffmpeg: str, source: BinaryIO, *, max_seconds: float) -> MediaInfo:
    """Check that a file is usable audio, from its headers, its first second and its last packets.

    Takes well under a second whatever the length: the rest is decoded by `normalise`.

    Args:
        ffmpeg: Executable.
        source: A real, seekable file (a pipe would not do: an m4a has its index at the end).
        max_seconds: Longest recording accepted.

    Raises:
        InvalidAudio: Empty, not audio, truncated or too long (codes `empty_file`,
            `unsupported_media`, `no_audio`, `truncated_audio`, `audio_too_long`).
        EngineFailed: ffmpeg hung or was killed (retryable).
    """
    with logged_operation("probe media", quiet=True) as outcome:
        if os.fstat(source.fileno()).st_size == 0:
            raise InvalidAudio("The file is empty. Upload a recording.", code="empty_file")
        head = await _ffmpeg(
            ffmpeg, source, ["-map", "0:a:0", "-vn", "-sn", "-dn", "-t", "1", "-f", "null", "-"]
        )
        info = _read_headers(head.stderr, decoded=head.process.returncode == 0)
        if info.duration is not None and info.duration > max_seconds:
            raise _too_long(info.duration, max_seconds)
        if _riff_is_cut_off(source):
            raise _truncated()
        if info.duration is not None:
            await _check_tail(ffmpeg, source, info.duration)
        outcome.update(container=info.container, codec=info.codec, duration=info.duration)
        return info


async def normalise(
    ffmpeg: str, source: BinaryIO, target: Path, *, max_seconds: float, declared: float | None
) -> NormalisedAudio:
    """Decode the first audio stream of a file into the normal form.

    Args:
        ffmpeg: Executable.
        source: A real, seekable file.
        target: The WAV to write.
        max_seconds: Longest recording accepted, whatever the headers claim: a small file can
            decode to days of silence.
        declared: Duration by the headers, to notice a missing end.

    Raises:
        InvalidAudio: Nothing could be decoded (`invalid_audio`), or too much (`audio_too_long`).
        EngineFailed: ffmpeg hung, was killed, or found the disk full (retryable).
    """
    with logged_operation("normalise media") as outcome:
        timeout = 60 + (declared or max_seconds) / _SLOWEST_DECODING
        said = await _decode(ffmpeg, source, target, max_seconds + 1, timeout)
        duration = get_audio_duration(target)
        if duration > max_seconds:
            raise _too_long(duration, max_seconds)
        # A film is as long as its pictures: that its sound ends before them is no damage.
        film = _PICTURES.search(said) is not None
        missing = 0.0 if film else max(0.0, (declared or 0.0) - duration)
        outcome.update(duration=duration, missing_seconds=missing)
        return NormalisedAudio(duration, missing if missing > _DURATION_TOLERANCE_SECONDS else 0.0)


async def decode_beginning(ffmpeg: str, source: BinaryIO, target: Path, *, seconds: float) -> None:
    """Decode at most so many seconds of a real, seekable file into a WAV of the normal form.

    Raises:
        InvalidAudio: Nothing could be decoded.
        EngineFailed: ffmpeg hung, was killed, or found the disk full (retryable).
    """
    with logged_operation("decode beginning", quiet=True):
        await _decode(ffmpeg, source, target, seconds, 60 + seconds / _SLOWEST_DECODING)


def get_audio_duration(path: Path) -> float:
    """Return the seconds of audio in a WAV of the normal form, from its size."""
    return max(0, path.stat().st_size - WAV_HEADER_BYTES) // SAMPLE_BYTES / SAMPLE_RATE


def sample_range(start: float, end: float) -> tuple[int, int]:
    """Return offset and length in bytes of `[start, end)` seconds in a WAV of the normal form."""
    first, last = round(start * SAMPLE_RATE), round(end * SAMPLE_RATE)
    return WAV_HEADER_BYTES + first * SAMPLE_BYTES, (last - first) * SAMPLE_BYTES


async def _decode(
    ffmpeg: str, source: BinaryIO, target: Path, seconds: float, timeout_seconds: float
) -> str:
    """Write at most so many seconds of a file as a WAV of the normal form; return what was said."""
    shape = ["-ac", "1", "-ar", str(SAMPLE_RATE), "-c:a", "pcm_s16le"]
    # Without these flags ffmpeg adds a LIST chunk, and the header is not 44 bytes.
    canonical = ["-map_metadata", "-1", "-fflags", "+bitexact", "-flags:a", "+bitexact"]
    arguments = ["-map", "0:a:0", "-vn", "-sn", "-dn", "-t", f"{seconds:.3f}", *shape, *canonical]
    ended = await _ffmpeg(
        ffmpeg,
        source,
        [*arguments, "-f", "wav", "-y", str(target)],
        timeout_seconds=timeout_seconds,
    )
    if ended.process.returncode in _DISK_FULL_STATUSES:
        raise EngineFailed("There is no room for the decoded recording.", code="disk_full")
    if not target.exists() or get_audio_duration(target) <= 0:
        raise InvalidAudio("No audio could be decoded from the file. Is it damaged?")
    return ended.stderr


def _read_headers(stderr: str, *, decoded: bool) -> MediaInfo:
    """Read what ffmpeg printed of a file; refuse what has no audio that it can decode."""
    container = _CONTAINER.search(stderr)
    if container is None:
        if "moov atom not found" in stderr:
            raise _truncated()
        raise InvalidAudio(
            f"The file is not a recording that can be read. Accepted: {ACCEPTED_FORMATS}.",
            code="unsupported_media",
        )
    audio = _AUDIO.search(stderr)
    if audio is None:
        raise InvalidAudio(
            "The file has no audio track. Upload a recording with sound.", code="no_audio"
        )
    if not decoded:
        raise InvalidAudio("The audio in the file cannot be decoded. Is it damaged?")
    return MediaInfo(container[1].split(",")[0], audio[1], _read_duration(stderr))


def _read_duration(stderr: str) -> float | None:
    found = _DURATION.search(stderr)
    if found is None or _GUESSED in stderr:
        return None
    hours, minutes, seconds = found.groups()
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


async def _check_tail(ffmpeg: str, source: BinaryIO, duration: float) -> None:
    """Refuse a file whose headers promise more than its bytes hold.

    Seeks near the declared end and copies packets from there: in a file that was cut off none is
    found, or one that lies before the place sought (a negative time). Packets of every stream
    count, since a film's sound may end before its pictures.
    """
    if duration <= _TAIL_SECONDS * 2:
        return
    tail = await _ffmpeg(
        ffmpeg,
        source,
        ["-map", "0", "-c", "copy", "-f", "null", "-"],
        before_input=["-ss", f"{duration - _TAIL_SECONDS:.3f}"],
    )
    times = _LAST_PACKET.findall(tail.stderr)
    if not times or times[-1][0] == "-":
        raise _truncated()


def _riff_is_cut_off(source: BinaryIO) -> bool:
    """Whether a WAV holds less than its header says (ffmpeg goes by the file's size instead)."""
    source.seek(0)
    header = source.read(12)
    if header[:4] != b"RIFF" or header[8:12] != b"WAVE":
        return False
    declared = int.from_bytes(header[4:8], "little")
    held = os.fstat(source.fileno()).st_size - 8
    return held < declared - SAMPLE_RATE and declared < _UNKNOWN_RIFF_BYTES


def _truncated() -> InvalidAudio:
    return InvalidAudio(
        "The file ends before its recording does: it was cut off. Upload the whole file again.",
        code="truncated_audio",
    )


def _too_long(seconds: float, limit: float) -> InvalidAudio:
    return InvalidAudio(
        f"The recording lasts more than {limit / 3600:g} h, the longest accepted here. "
        "Split it, or raise MAX_DURATION_SECONDS.",
        code="audio_too_long",
        duration_seconds=round(seconds, 3),
        max_duration_seconds=limit,
    )


async def _ffmpeg(
    ffmpeg: str,
    source: BinaryIO,
    arguments: list[str],
    *,
    before_input: list[str] | None = None,
    timeout_seconds: float = _PROBE_TIMEOUT_SECONDS,
) -> Engine:
    """Run ffmpeg over a file that it opens as /dev/stdin: seekable, and with no name."""
    source.seek(0)
    guard = [
        "-protocol_whitelist", "file,pipe", "-format_whitelist", ",".join(CONTAINERS),
    ]  # fmt: skip
    argv = [
        ffmpeg, "-hide_banner", "-nostdin", *guard, *(before_input or []),
        "-i", "/dev/stdin", *arguments,
    ]  # fmt: skip
    ended = await run(argv, timeout_seconds=timeout_seconds, stdin=source)
    if (status := ended.process.returncode or 0) < 0:
        raise EngineFailed(f"ffmpeg was killed (signal {-status}).", code="engine_killed")
    return ended
