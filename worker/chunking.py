"""Cutting a recording into chunks for the engine: in its quietest gaps, packed up to 30 s.

Whisper pads whatever it hears to 30 s, so few long chunks cost less than many short ones; and a
cut inside a word costs that word. The WAV is read once in blocks; what stays in memory is one
level per 20 ms (4 bytes, 0.7 MB for an hour).

Pure but for reading the file: no network, no subprocess.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from core.logger import logged_operation
from worker.constants import MAX_CHUNK_SECONDS, MIN_CHUNK_SECONDS, SAMPLE_BYTES, SAMPLE_RATE
from worker.errors import InvalidAudio
from worker.media import WAV_HEADER_BYTES, get_audio_duration
from worker.transcript import Chunk

Levels = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]

FRAME_SAMPLES = 320  # 20 ms: shorter than any phoneme, longer than a pitch period
FRAME_SECONDS = FRAME_SAMPLES / SAMPLE_RATE
_BLOCK_FRAMES = 3_000  # 1 min of audio, 2 MB

# The fields of a WAV's fmt chunk: PCM, channels, samples and bytes per second and per frame, bits.
_NORMAL_FORM = struct.pack(
    "<HHIIHH", 1, 1, SAMPLE_RATE, SAMPLE_RATE * SAMPLE_BYTES, SAMPLE_BYTES, 8 * SAMPLE_BYTES
)

_DIGITAL_SILENCE_DB = -90.0  # below one bit of 16: says nothing about the room's noise
_SILENCE_FLOOR_DB = -60.0  # no usable recording has speech below this
_SPEECH_ABOVE_NOISE_DB = 8.0
_SHORTEST_SKIP_SECONDS = 0.5  # less would save nothing, and every seam is a risk
_NOISE_PERCENTILE = 5  # the quietest twentieth of a recording is taken as its noise


@dataclass(frozen=True)
class ChunkingOptions:
    """How to cut. Times in seconds.

    Attributes:
        max_seconds: Longest audio handed to the engine: Whisper's window.
        min_gap: Shortest silence that counts as a place to cut.
        padding: Silence kept before and after the speech of a chunk.
        longest_pause: Silences longer than this are shortened to it: engines invent text in them,
            and they take up the window.
        overlap: How much both sides hear of a cut that found no silence.
        search: How far back from the window's end to look for a gap, in widening steps: a cut
            near the end wastes little of the window.
    """

    max_seconds: float = MAX_CHUNK_SECONDS
    min_gap: float = 0.3
    padding: float = 0.4
    longest_pause: float = 1.2
    overlap: float = 1.0
    search: tuple[float, ...] = (6.0, 12.0, 28.0)


class AudioChunker:
    """Cuts WAVs of the normal form (16 kHz mono s16le, 44-byte header)."""

    def __init__(self, options: ChunkingOptions | None = None) -> None:
        self._options = options or ChunkingOptions()

    def validate_audio(self, path: Path) -> float:
        """Check that a WAV is in the normal form and return its duration in seconds.

        Raises:
            InvalidAudio: It is not, or it holds no samples.
        """
        with path.open("rb") as file:
            header = file.read(WAV_HEADER_BYTES)
        if header[:4] != b"RIFF" or header[20:40] != _NORMAL_FORM + b"data":
            raise InvalidAudio("The audio is not 16-bit 16 kHz mono WAV with a plain header.")
        duration = get_audio_duration(path)
        if duration == 0:
            raise InvalidAudio("The recording holds no samples.", code="empty_file")
        return duration

    def chunk_by_silence(self, path: Path) -> list[Chunk]:
        """Cut a recording in its quietest gaps.

        Returns:
            Chunks in order. Their cores tile `[0, duration)`; each hears at most `max_seconds`,
            without the silence around its speech and without the long ones inside. Neighbours
            overlap only where no gap was found. A recording without speech is one chunk with
            `has_speech` False.
        """
        with logged_operation("chunk by silence") as outcome:
            duration = self.validate_audio(path)
            speech = find_speech(read_levels(path))
            skips = self._find_skips(speech)
            cuts = self._find_cuts(speech, skips, duration)
            chunks = self._trim(cuts, speech, skips, duration)
            outcome.update(chunks=len(chunks), duration=duration)
            return chunks

    def chunk_fixed_duration(self, path: Path, seconds: float | None = None) -> list[Chunk]:
        """Cut a recording every `seconds` (default: the longest allowed), whatever is said there.

        Neighbours overlap by `2 * overlap`, and each keeps its words up to the middle.
        """
        options = self._options
        step = (seconds or options.max_seconds) - 2 * options.overlap
        if step < MIN_CHUNK_SECONDS or step + 2 * options.overlap > options.max_seconds:
            raise ValueError(f"chunks of {seconds} s cannot be cut")
        with logged_operation("chunk by fixed duration"):
            duration = self.validate_audio(path)
            speech = find_speech(read_levels(path))
            places = np.arange(step, duration - MIN_CHUNK_SECONDS, step)
            cuts = [_Cut(_to_sample_grid(place), forced=True) for place in places]
            return self._trim(cuts, speech, self._find_skips(speech), duration)

    def _find_cuts(self, speech: Flags, skips: Gaps, duration: float) -> list[_Cut]:
        """Walk through the speech, cutting before each window overflows."""
        options = self._options
        gaps = find_gaps(speech, options.min_gap)
        clock = _HeardClock(skips, duration)
        starts = _speech_starts(speech)
        speech_end = _last_true(speech) * FRAME_SECONDS
        cuts: list[_Cut] = []
        position = 0.0
        while True:
            if cuts and cuts[-1].forced:
                first = position - options.overlap
            else:
                first = max(position, _next(starts, position) - options.padding)
            limit = clock.after(first, options.max_seconds)
            if min(speech_end + options.padding, duration) <= limit:
                return cuts
            cut = self._best_gap(gaps, clock, first) or _forced_cut(speech, limit, options)
            if cut.at >= duration - MIN_CHUNK_SECONDS:
                return cuts
            cuts.append(cut)
            position = cut.at

    def _best_gap(self, gaps: Gaps, clock: _HeardClock, first: float) -> _Cut | None:
        """Return the middle of the longest gap near the end of the window, or None."""
        options = self._options
        limit = clock.after(first, options.max_seconds)
        for reach in options.search:
            # Never so far back that a chunk would be next to nothing, or none at all.
            low = clock.after(first, max(options.max_seconds - reach, options.overlap + 1))
            # A gap serves if the padding of the speech before it still lies within the window.
            inside = (gaps.start + options.padding <= limit) & (gaps.end > low)
            if inside.any():
                lengths = np.where(inside, gaps.end - gaps.start, 0.0)
                best = int(np.argmax(lengths))
                middle = (gaps.start[best] + min(gaps.end[best], limit)) / 2
                return _Cut(_to_sample_grid(float(middle)), forced=False)
        return None

    def _find_skips(self, speech: Flags) -> Gaps:
        """Return the part of each long silence that the engine is not given."""
        pause = self._options.longest_pause
        gaps = find_gaps(speech, pause + _SHORTEST_SKIP_SECONDS)
        return Gaps(gaps.start + pause / 2, gaps.end - pause / 2)

    def _trim(
        self, cuts: Sequence[_Cut], speech: Flags, skips: Gaps, duration: float
    ) -> list[Chunk]:
        """Give each stretch between cuts its overlap, or the silence around its speech back."""
        options = self._options
        edges = [_Cut(0.0, forced=False), *cuts, _Cut(duration, forced=False)]
        chunks = []
        for index, (left, right) in enumerate(itertools.pairwise(edges)):
            first, last = _speech_between(speech, left.at, right.at)
            if first is None or last is None:
                chunk = Chunk(index, left.at, right.at, left.at, right.at, has_speech=False)
                chunks.append(_limit(chunk, options.max_seconds))
                continue
            start = max(left.at, _to_sample_grid(first - options.padding))
            end = min(right.at, _to_sample_grid(last + options.padding))
            if left.forced:
                start = max(0.0, _to_sample_grid(left.at - options.overlap))
            if right.forced:
                end = min(duration, _to_sample_grid(right.at + options.overlap))
            chunks.append(
                Chunk(index, start, end, left.at, right.at, skips=skips.between(start, end))
            )
        return chunks


@dataclass(frozen=True)
class _Cut:
    at: float
    forced: bool  # no silence there: both sides hear the surroundings


@dataclass(frozen=True)
class Gaps:
    """Stretches without speech, in order: float64 arrays of seconds, (gaps,)."""

    start: npt.NDArray[np.float64]
    end: npt.NDArray[np.float64]

    def between(self, start: float, end: float) -> tuple[tuple[float, float], ...]:
        """Return those that lie wholly inside, on whole samples."""
        inside = (self.start > start) & (self.end < end)
        pairs = zip(self.start[inside], self.end[inside], strict=True)
        return tuple((_to_sample_grid(float(a)), _to_sample_grid(float(b))) for a, b in pairs)


class _HeardClock:
    """Converts between the recording's time and that of an engine that is not given the skips."""

    def __init__(self, skips: Gaps, duration: float) -> None:
        ends = np.stack([skips.start, skips.end], axis=1).ravel()
        self._recorded = np.concatenate(([0.0], ends, [duration]))
        lengths = np.diff(self._recorded)
        lengths[1::2] = 0.0  # every second stretch is a skip
        self._heard = np.concatenate(([0.0], np.cumsum(lengths)))

    def after(self, position: float, seconds: float) -> float:
        """Return where in the recording `seconds` more have been heard since `position`."""
        heard = float(np.interp(position, self._recorded, self._heard)) + seconds
        return float(np.interp(heard, self._heard, self._recorded))


def read_levels(path: Path) -> Levels:
    """Return the level of each 20 ms frame of a WAV, in dB below full scale.

    Returns:
        float32, (frames,), at most 0; -100 for digital silence. A last part-frame counts whole.
    """
    blocks = [_block_levels(block) for block in _read_blocks(path)]
    return np.concatenate(blocks) if blocks else np.zeros(0, np.float32)


def find_speech(levels: Levels) -> Flags:
    """Say which frames may hold speech: louder than the room by 8 dB for two in a row.

    The room's noise is the quietest twentieth of the recording, digital silence apart. It errs
    towards speech: what is missed here is never transcribed.

    Returns:
        bool, (frames,).
    """
    audible = levels[levels > _DIGITAL_SILENCE_DB]
    if audible.size == 0:
        return np.zeros(levels.shape, np.bool_)
    noise = float(np.percentile(audible, _NOISE_PERCENTILE))
    threshold = max(noise + _SPEECH_ABOVE_NOISE_DB, _SILENCE_FLOOR_DB)
    loud = levels > threshold
    # A click is loud for one frame; a word never is.
    sustained = loud.copy()
    sustained[1:-1] = loud[1:-1] & (loud[:-2] | loud[2:])
    return sustained


def find_gaps(speech: Flags, min_seconds: float) -> Gaps:
    """Return the stretches of at least `min_seconds` without speech."""
    edges = np.diff(np.concatenate(([True], speech, [True])).astype(np.int8))
    start = np.flatnonzero(edges == -1).astype(np.float64) * FRAME_SECONDS
    end = np.flatnonzero(edges == 1).astype(np.float64) * FRAME_SECONDS
    long = end - start >= min_seconds
    return Gaps(start[long], end[long])


def _read_blocks(path: Path) -> Iterator[npt.NDArray[np.int16]]:
    with path.open("rb") as file:
        file.seek(WAV_HEADER_BYTES)
        while True:
            block = np.fromfile(file, dtype="<i2", count=_BLOCK_FRAMES * FRAME_SAMPLES)
            if block.size == 0:
                return
            yield block


def _block_levels(samples: npt.NDArray[np.int16]) -> Levels:
    missing = -samples.size % FRAME_SAMPLES
    frames = np.pad(samples, (0, missing)).reshape(-1, FRAME_SAMPLES).astype(np.float32)
    power = np.einsum("ij,ij->i", frames, frames) / FRAME_SAMPLES
    levels: Levels = (10 * np.log10(power / 32768.0**2 + 1e-10)).astype(np.float32)
    return levels


def _forced_cut(speech: Flags, limit: float, options: ChunkingOptions) -> _Cut:
    """Cut where speech never pauses: at the last frame without any, else near the window's end."""
    latest = limit - options.overlap
    low, high = int((latest - 4) / FRAME_SECONDS), int(latest / FRAME_SECONDS)
    quiet = np.flatnonzero(~speech[low:high])
    at = (low + quiet[-1]) * FRAME_SECONDS if quiet.size else latest
    return _Cut(_to_sample_grid(float(at)), forced=True)


def _speech_starts(speech: Flags) -> npt.NDArray[np.float64]:
    return np.flatnonzero(speech).astype(np.float64) * FRAME_SECONDS


def _next(starts: npt.NDArray[np.float64], position: float) -> float:
    at = int(np.searchsorted(starts, position))
    return float(starts[at]) if at < starts.size else position


def _last_true(flags: Flags) -> int:
    found = np.flatnonzero(flags)
    return int(found[-1]) + 1 if found.size else 0


def _speech_between(speech: Flags, start: float, end: float) -> tuple[float | None, float | None]:
    low, high = int(start / FRAME_SECONDS), int(np.ceil(end / FRAME_SECONDS))
    found = np.flatnonzero(speech[low:high])
    if found.size == 0:
        return None, None
    return (low + int(found[0])) * FRAME_SECONDS, (low + int(found[-1]) + 1) * FRAME_SECONDS


def _to_sample_grid(seconds: float) -> float:
    """Round to a whole sample, so that byte ranges are exact."""
    return round(seconds * SAMPLE_RATE) / SAMPLE_RATE


def _limit(chunk: Chunk, max_seconds: float) -> Chunk:
    """A silent stretch can be long; nothing hears it, so its audio interval is kept short."""
    end = min(chunk.end, _to_sample_grid(chunk.start + max_seconds))
    return Chunk(chunk.index, chunk.start, end, chunk.core_start, chunk.core_end, has_speech=False)
