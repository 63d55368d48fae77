"""The stages of a job as plain functions, and `process_stt_job`, which runs them all here.

The consumers run the same functions one by one, with the store and the database between them.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
import warnings
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Literal

from core.logger import logged_operation
from worker import media
from worker.chunking import AudioChunker
from worker.constants import SAMPLE_BYTES, SAMPLE_RATE
from worker.diarizer import Diarizer, SpeakerHints
from worker.merger import ResultMerger
from worker.speakers import assign_speakers
from worker.transcriber import Clip, TranscribeOptions, WhisperTranscriber
from worker.transcript import Chunk, ChunkTranscript, Diarization, Transcript

with warnings.catch_warnings():
    # pydub looks for an ffmpeg on the PATH when imported; it is only asked to write WAVs here.
    warnings.simplefilter("ignore", RuntimeWarning)
    from pydub import AudioSegment

Chunking = Literal["silence", "fixed"]
ReadRange = Callable[[int, int], Awaitable[bytes]]


@dataclass(frozen=True)
class PreparedAudio:
    """What the first stage leaves for the others.

    Attributes:
        duration: Seconds of audio in the WAV.
        chunks: How it is to be transcribed.
        warnings: Sentences for the reader of the transcript.
    """

    duration: float
    chunks: list[Chunk]
    warnings: list[str] = field(default_factory=list)


async def prepare_audio(
    ffmpeg: str,
    source: BinaryIO,
    wav: Path,
    *,
    max_seconds: float,
    declared: float | None,
    chunking: Chunking = "silence",
) -> PreparedAudio:
    """Normalise an upload into `wav` and decide where to cut it.

    Raises:
        InvalidAudio: It cannot be decoded, or lasts too long.
        EngineFailed: ffmpeg hung or was killed (retryable).
    """
    audio = await media.normalise(ffmpeg, source, wav, max_seconds=max_seconds, declared=declared)
    notes = []
    if audio.missing_seconds:
        notes.append(
            f"The recording is damaged: {audio.missing_seconds:.1f} s of the "
            f"{declared or 0:.1f} s it declares could not be decoded."
        )
    chunker = AudioChunker()
    cut = chunker.chunk_by_silence if chunking == "silence" else chunker.chunk_fixed_duration
    chunks = await asyncio.to_thread(cut, wav)
    if not any(chunk.has_speech for chunk in chunks):
        notes.append("No speech was found in the recording.")
    return PreparedAudio(audio.duration, chunks, notes)


async def transcribe_chunks(
    transcriber: WhisperTranscriber,
    read_range: ReadRange,
    chunks: Sequence[Chunk],
    options: TranscribeOptions,
    work_dir: Path,
) -> AsyncGenerator[ChunkTranscript, None]:
    """Transcribe chunks in one subprocess, yielding each when it is finished, in order.

    Args:
        transcriber: The engine.
        read_range: Returns `length` bytes from `offset` of the normalised WAV, wherever that is.
        chunks: Those to transcribe; all with speech.
        options: Language and prompt.
        work_dir: An empty folder for WAVs and outputs; the caller removes it.
    """
    clips = [await _write_clip(read_range, chunk, work_dir) for chunk in chunks]
    async with aclosing(transcriber.transcribe(clips, options)) as results:
        async for result in results:
            yield result


def merge_results(
    chunks: Sequence[Chunk], results: Sequence[ChunkTranscript], duration: float
) -> Transcript:
    """Put the chunk transcripts together."""
    return ResultMerger().merge_chunks(chunks, results, duration)


def transcript_to_dict(
    transcript: Transcript,
    *,
    job_id: str,
    model: str,
    timings: dict[str, float],
    word_timestamps: bool = True,
    diarization_model: str | None = None,
) -> dict[str, Any]:
    """Return the transcript's JSON values, as stored and as sent to clients.

    Args:
        transcript: What was merged.
        job_id: Whose it is.
        model: Name of the speech model.
        timings: Seconds that each stage took.
        word_timestamps: Whether segments list their words.
        diarization_model: Name of the model that told the speakers apart, if one did.
    """
    models = {"transcription": model}
    if diarization_model:
        models["diarization"] = diarization_model
    segments = []
    for index, segment in enumerate(transcript.segments):
        values = {"id": index, **asdict(segment)}
        if not word_timestamps:
            del values["words"]
        segments.append(values)
    duration = max(transcript.duration, 1e-9)
    return {
        "job_id": job_id,
        "language": transcript.language,
        "language_confidence": transcript.language_confidence,
        "duration": transcript.duration,
        "text": transcript.text,
        "segments": segments,
        "speakers": [asdict(speaker) for speaker in transcript.speakers],
        "turns": [asdict(turn) for turn in transcript.turns],
        "gaps": [asdict(gap) for gap in transcript.gaps],
        "quality": {
            "coverage": transcript.coverage,
            "suspect_segments": sum(segment.suspect for segment in transcript.segments),
            "real_time_factor": {k: round(v / duration, 4) for k, v in timings.items()},
        },
        "models": models,
        "warnings": list(transcript.warnings),
    }


async def process_stt_job(
    recording: Path,
    transcriber: WhisperTranscriber,
    *,
    ffmpeg: str,
    options: TranscribeOptions | None = None,
    chunking: Chunking = "silence",
    max_seconds: float = 12 * 3600,
    model_name: str = "unknown",
    diarizer: Diarizer | None = None,
    hints: SpeakerHints | None = None,
) -> dict[str, Any]:
    """Transcribe a file in this process: every stage, one after the other.

    Speakers are told apart where there is a diarizer.

    Returns:
        The transcript's JSON values, as `transcript_to_dict` makes them.

    Raises:
        InvalidAudio: The recording cannot be used.
        EngineMissing: A part is not installed.
        EngineFailed: An engine crashed or hung (retryable).
    """
    with (
        logged_operation("process recording"),
        tempfile.TemporaryDirectory(prefix="stt-") as folder,
        recording.open("rb") as source,
    ):
        clock = _Stopwatch()
        wav = Path(folder) / "audio.wav"
        info = await media.probe(ffmpeg, source, max_seconds=max_seconds)
        prepared = await prepare_audio(
            ffmpeg, source, wav,
            max_seconds=max_seconds, declared=info.duration, chunking=chunking,
        )  # fmt: skip
        clock.lap("prepare")

        async def read_range(offset: int, length: int) -> bytes:
            with wav.open("rb") as file:
                file.seek(offset)
                return file.read(length)

        spoken = [chunk for chunk in prepared.chunks if chunk.has_speech]
        stage = transcribe_chunks(
            transcriber, read_range, spoken, options or TranscribeOptions(), Path(folder)
        )
        results = [result async for result in stage]
        clock.lap("transcribe")
        turns = Diarization((), ())
        if diarizer is not None:
            found = partial(diarizer.diarize, wav, hints or SpeakerHints(), lambda _share: None)
            turns = await asyncio.to_thread(found)
            clock.lap("diarize")
        transcript = merge_results(prepared.chunks, results, prepared.duration)
        transcript = assign_speakers(transcript, turns)
        transcript = replace(transcript, warnings=tuple(prepared.warnings))
        clock.lap("merge")
        return transcript_to_dict(transcript, job_id="", model=model_name, timings=clock.laps)


async def _write_clip(read_range: ReadRange, chunk: Chunk, work_dir: Path) -> Clip:
    """Write a chunk's audio as a WAV of its own."""
    ranges = [media.sample_range(start, end) for start, end in chunk.pieces]
    samples = b"".join([await read_range(offset, length) for offset, length in ranges])
    path = work_dir / f"{chunk.index:06}.wav"
    audio = AudioSegment(
        data=samples[: len(samples) // SAMPLE_BYTES * SAMPLE_BYTES],
        sample_width=SAMPLE_BYTES,
        frame_rate=SAMPLE_RATE,
        channels=1,
    )
    audio.export(path, format="wav").close()
    return Clip(chunk.index, path, chunk.heard_seconds)


class _Stopwatch:
    """Seconds between laps, by name."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._started = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name] = round(now - self._started, 3)
        self._started = now
