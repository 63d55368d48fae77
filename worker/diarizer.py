"""Who speaks when: pyannote.audio behind one protocol.

torch is imported when a `PyannoteDiarizer` is made, and by nothing else here: consumers run it in a
process of its own (`worker.diarizer_process`).
"""

from __future__ import annotations

import wave
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from core.errors import AppError
from core.logger import logged_operation, logger
from worker.constants import MIN_CHUNK_SECONDS, SAMPLE_RATE
from worker.errors import EngineFailed, EngineMissing
from worker.known_voices import KnownVoices, match_voices, similarity
from worker.pipeline_source import load_pipeline
from worker.transcript import Diarization, SpeakerTurn, VoiceMatch
from worker.window_sharing import share_windows

Device = Literal["auto", "cpu", "cuda"]
OnProgress = Callable[[float], None]

# Windows are moved on by this share of their length. pyannote's default of 0.1 looks at everything
# ten times; docs/benchmarks.md has what larger steps gain and cost.
_STEP_CPU, _STEP_CUDA = 0.25, 0.1
# Windows that go through the networks at once.
_BATCH_CPU, _BATCH_CUDA = 8, 32
# Clustering compares all with all: beyond this many windows (3 h at a step of a second) the step
# grows instead, or ten hours would need gigabytes for the distances.
_MOST_WINDOWS = 12_000
_BLOCK_SAMPLES = 1 << 20
# Share of the time that the steps take, of which pyannote reports two as they go.
_PROGRESS = {"segmentation": (0.0, 0.35), "embeddings": (0.35, 0.6)}


@dataclass(frozen=True)
class SpeakerHints:
    """What is known about the number of speakers; None means nothing is.

    Attributes:
        exactly: How many there are.
        at_least: A lower bound.
        at_most: An upper bound.
    """

    exactly: int | None = None
    at_least: int | None = None
    at_most: int | None = None


@dataclass(frozen=True)
class DiarizerOptions:
    """Which pipeline to run, and where.

    Attributes:
        pipeline: A folder with a `config.yaml`, or a name on Hugging Face.
        token: For Hugging Face.
        device: `auto` takes the GPU where there is one.
        step: Of the window, as a share of its length, above 0 and at most 1; None: by the device.
        batch_size: Windows at once; None: by the device.
        threads: Of the processor; None: all.
    """

    pipeline: str
    token: str | None = None
    device: Device = "auto"
    step: float | None = None
    batch_size: int | None = None
    threads: int | None = None


class Diarizer(Protocol):
    """Finds out who speaks when."""

    def diarize(
        self,
        wav: Path,
        hints: SpeakerHints,
        on_progress: OnProgress,
        known: KnownVoices | None = None,
    ) -> Diarization:
        """Return the speaker turns of a recording.

        Args:
            wav: 16 kHz mono 16-bit.
            hints: About the number of speakers.
            on_progress: Called with the share done, 0 to 1. What it raises ends the work.
            known: People to look for among the speakers.

        Raises:
            EngineFailed: The engine broke down (retryable).
        """
        ...


class PyannoteDiarizer:
    """Runs one pyannote pipeline in this process, loaded once."""

    def __init__(self, options: DiarizerOptions) -> None:
        """Load the pipeline.

        Raises:
            EngineMissing: A package, the token, the licence or the pipeline is missing.
            EngineFailed: Hugging Face cannot be reached (retryable).
        """
        with logged_operation("load diarization pipeline", pipeline=options.pipeline) as outcome:
            pipeline = load_pipeline(options.pipeline, options.token)
            import torch  # by now it is loaded

            if options.threads is not None:
                torch.set_num_threads(options.threads)
            cuda = options.device != "cpu" and torch.cuda.is_available()
            if options.device == "cuda" and not cuda:
                raise EngineMissing(
                    "DIARIZATION_DEVICE is cuda, but torch finds no GPU. Set it to auto or cpu.",
                    code="cuda_missing",
                )
            pipeline.to(torch.device("cuda" if cuda else "cpu"))
            self._step = options.step or (_STEP_CUDA if cuda else _STEP_CPU)
            batch_size = options.batch_size or (_BATCH_CUDA if cuda else _BATCH_CPU)
            pipeline.segmentation_batch_size = pipeline.embedding_batch_size = batch_size
            share_windows(pipeline)
            self._pipeline: Any = pipeline
            outcome.update(device="cuda" if cuda else "cpu", step=self._step, batch=batch_size)

    def diarize(
        self,
        wav: Path,
        hints: SpeakerHints,
        on_progress: OnProgress,
        known: KnownVoices | None = None,
    ) -> Diarization:
        """Return the speaker turns of a recording; see `Diarizer`."""
        waveform = _read_wav(wav)
        seconds = waveform.shape[1] / SAMPLE_RATE
        with logged_operation("diarize", duration_seconds=round(seconds, 1)) as outcome:
            if seconds < MIN_CHUNK_SECONDS:
                return Diarization((), ())
            output = self._apply(waveform, seconds, hints, _Hook(on_progress))
            turns = tuple(_turns(output.speaker_diarization))
            exclusive = tuple(_turns(output.exclusive_speaker_diarization))
            outcome.update(turns=len(turns), speakers=len({turn.speaker for turn in turns}))
            voices = () if known is None else self._recognise(output, known)
            return Diarization(turns, exclusive, voices)

    def _apply(self, waveform: Any, seconds: float, hints: SpeakerHints, hook: _Hook) -> Any:
        inference = self._pipeline._segmentation
        inference.step = step_for(seconds, self._step, inference.duration) * inference.duration
        with logged_operation("apply pipeline", translate=_translate, quiet=True):
            return self._pipeline(
                {"waveform": waveform, "sample_rate": SAMPLE_RATE, "uri": "recording"},
                num_speakers=hints.exactly,
                min_speakers=hints.at_least,
                max_speakers=hints.at_most,
                hook=hook,
            )

    def _recognise(self, output: Any, known: KnownVoices) -> tuple[VoiceMatch, ...]:
        """Compare the speakers that the pipeline found with known voices."""
        with logged_operation("recognise voices", translate=_translate) as outcome:
            voices = {
                person.name: self._pipeline._embedding(_read_wav(person.clip)[None])[0]
                for person in known.people
            }
            # In the order of the labels (pyannote.audio 4.0, `DiarizeOutput`).
            speakers = zip(
                output.speaker_diarization.labels(), output.speaker_embeddings, strict=True
            )
            similarities = {
                speaker: {name: similarity(own, voice) for name, voice in voices.items()}
                for speaker, own in speakers
            }
            matches = match_voices(similarities, known.threshold)
            outcome.update(people=len(voices), found=sum(m.name is not None for m in matches))
            return matches


def _translate(error: Exception) -> AppError | None:
    if not isinstance(error, RuntimeError | ValueError | MemoryError):
        return None
    logger.opt(exception=True).debug("pyannote failed")
    return EngineFailed(
        f"pyannote.audio failed ({type(error).__name__}: {str(error)[:200]}).",
        code="diarization_failed",
    )


def step_for(seconds: float, step: float, window_seconds: float) -> float:
    """Return the step to take for a recording, as a share of the window's length. Pure."""
    return min(1.0, max(step, seconds / (_MOST_WINDOWS * window_seconds)))


class _Hook:
    """Turns pyannote's reports into one number that only rises."""

    def __init__(self, on_progress: OnProgress) -> None:
        self._on_progress = on_progress

    def __call__(
        self,
        step: str,
        _artefact: Any,
        *,
        file: Any = None,
        total: int | None = None,
        completed: int | None = None,
    ) -> None:
        if step in _PROGRESS and total and completed is not None:
            begun, share = _PROGRESS[step]
            self._on_progress(begun + share * min(1.0, completed / total))


def _read_wav(path: Path) -> Any:
    """Return a (1, samples) float32 tensor in [-1, 1]: 230 MB for an hour, and no copy of it."""
    import torch

    with wave.open(str(path), "rb") as file:
        samples = np.zeros((1, file.getnframes()), np.float32)
        for at in range(0, samples.shape[1], _BLOCK_SAMPLES):
            block = np.frombuffer(file.readframes(_BLOCK_SAMPLES), "<i2")
            samples[0, at : at + len(block)] = block
    samples /= 32768
    return torch.from_numpy(samples)


def _turns(annotation: Any) -> Iterator[SpeakerTurn]:
    for segment, _, speaker in annotation.itertracks(yield_label=True):
        yield SpeakerTurn(round(segment.start, 3), round(segment.end, 3), str(speaker))
