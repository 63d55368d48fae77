"""Speech to text: one whisper.cpp subprocess over many chunks.

The model is loaded once for all chunks of a call. A pure half builds the command and parses the
JSON; `WhisperTranscriber` runs the one through the other. What whisper-cli does oddly, and is
guarded against here: unknown languages and unreadable files end with exit code 0 (so success means
that every output parses), and text may hold broken UTF-8 (so it is decoded leniently).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from core.logger import logged_operation
from worker.alignment import covered_speech, spread_words
from worker.chunking import Flags, find_speech, read_levels
from worker.constants import LANGUAGES
from worker.errors import EngineFailed, EngineMissing
from worker.process import Engine, started
from worker.transcript import ChunkTranscript, Segment, Word

# whisper-cli's exit codes (examples/cli/cli.cpp).
_EXIT_MODEL_UNUSABLE = 3
# Half of the text context, the most that whisper.cpp gives to a prompt (`whisper_full`).
_MAX_PROMPT_TOKENS = 224
_POLL_SECONDS = 0.05
_EXIT_SECONDS = 5.0  # given to free the model after the last output; then it is killed
# Said of each file whose language had to be found, in the order of the files.
_DETECTED = re.compile(r"auto-detected language: \w+ \(p = (\S+)\)")
_SPECIAL = re.compile(r"^(\[_.*\]|<\|.*\|>)$", re.DOTALL)
# Written without spaces between words: there, each token stands for a word.
_UNSPACED_LANGUAGES = frozenset({"zh", "yue", "ja", "th", "lo", "my", "km", "bo"})


@dataclass(frozen=True)
class Clip:
    """Audio to transcribe: a chunk's index and its WAV (16 kHz mono s16le)."""

    index: int
    path: Path
    duration: float


@dataclass(frozen=True)
class TranscribeOptions:
    """What the client asked for.

    Attributes:
        language: A code of `LANGUAGES`, or `auto` to let the engine detect it in each chunk.
        prompt: Words and names to expect, in the style to write in.
        task: Whether to write in the language spoken, or in English whatever is spoken.
        temperature: How freely the engine picks among likely words, 0 to 1. From there it goes up
            by itself where it is unsure.
    """

    language: str = "auto"
    prompt: str | None = None
    task: Literal["transcribe", "translate"] = "transcribe"
    temperature: float = 0.0


class WhisperTranscriber:
    """Runs whisper-cli.

    Args:
        executable: Path or name of whisper-cli 1.8 or later.
        model: A ggml model file.
        threads: Processor threads for one subprocess.
        beam_size: Width of the beam search; 1 decodes greedily (faster, a little less exact).
        chunk_timeout_seconds: A subprocess that finishes no chunk for so long is killed.
    """

    def __init__(
        self,
        executable: str,
        model: Path,
        *,
        threads: int,
        beam_size: int = 5,
        chunk_timeout_seconds: float = 600,
    ) -> None:
        self._executable = executable
        self._model = model
        self._threads = threads
        self._beam_size = beam_size
        self._chunk_timeout_seconds = chunk_timeout_seconds

    def build_command(self, clips: Sequence[Clip], options: TranscribeOptions) -> list[str]:
        """Return the argument list for these clips; clip i's JSON lands beside its WAV."""
        argv = [
            self._executable, "-m", str(self._model), "-t", str(self._threads),
            "-bs", str(self._beam_size), "-bo", str(self._beam_size),
            "-l", options.language, "-tp", f"{options.temperature:g}", "-ojf",
        ]  # fmt: skip
        if options.language != "auto":
            argv += ["-np"]  # otherwise it would not say how sure it is of the language
        if options.task == "translate":
            argv += ["-tr"]
        if options.prompt:
            argv += ["--prompt", options.prompt, "--carry-initial-prompt"]
            argv += ["-mc", str(_MAX_PROMPT_TOKENS)]
        else:
            # Text carried from window to window is what makes Whisper loop.
            argv += ["-mc", "0"]
        for clip in clips:
            argv += ["-f", str(clip.path), "-of", str(clip.path.with_suffix(""))]
        return argv

    async def transcribe(
        self, clips: Sequence[Clip], options: TranscribeOptions
    ) -> AsyncGenerator[ChunkTranscript, None]:
        """Transcribe clips in one subprocess, yielding each as it is finished, in order.

        The subprocess ends with the iteration, however that ends.

        Raises:
            EngineMissing: No executable, no model, or a model that cannot be loaded.
            EngineFailed: It crashed, was killed, hung, or skipped a clip (retryable). What was
                yielded before stays good.
        """
        if not clips:
            return
        if options.language not in LANGUAGES | {"auto"}:
            raise ValueError(f"not a language of Whisper: {options.language}")
        if not self._model.is_file():
            raise EngineMissing(
                f"The speech model {self._model.name} is missing. "
                f"Fetch it with `python main.py models pull`."
            )
        with logged_operation("transcribe clips", clips=len(clips)):
            async with started(self.build_command(clips, options)) as engine:
                for number, clip in enumerate(clips):
                    output = await self._wait_for(clip, engine)
                    speech = find_speech(await asyncio.to_thread(read_levels, clip.path))
                    heard = parse_output(output, clip, speech, task=options.task)
                    yield replace(heard, language_confidence=_confidence(engine, number))
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(engine.process.wait(), _EXIT_SECONDS)

    async def _wait_for(self, clip: Clip, engine: Engine) -> dict[str, Any]:
        """Return a clip's JSON as soon as it is whole."""
        path = clip.path.with_suffix(".json")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._chunk_timeout_seconds):
                while True:
                    ended = engine.process.returncode is not None
                    if (output := _read_json(path)) is not None:
                        return output
                    if ended:
                        raise _failure(engine)
                    await asyncio.sleep(_POLL_SECONDS)
        raise EngineFailed(
            f"whisper-cli finished no chunk in {self._chunk_timeout_seconds:.0f} s, "
            "and was stopped. A smaller model or more threads would be faster.",
            code="engine_timeout",
        )


def parse_output(
    output: dict[str, Any], clip: Clip, speech: Flags, *, task: str = "transcribe"
) -> ChunkTranscript:
    """Turn whisper-cli's `-ojf` JSON into segments with words. Pure.

    Every word has a time: inside its segment, in order, within the clip.

    Args:
        output: The parsed JSON, with broken characters as surrogate escapes.
        clip: What was transcribed.
        speech: Which of its 20 ms frames hold speech, (frames,).
        task: What was asked of it: a translation is in English, whatever is spoken.
    """
    language = str(output.get("result", {}).get("language", "en"))
    spaced = task == "translate" or language not in _UNSPACED_LANGUAGES
    segments: list[Segment] = []
    for entry in output.get("transcription", []):
        after = segments[-1].end if segments else 0.0
        segment = _parse_segment(entry, after, clip.duration, speech, spaced=spaced)
        if segment is not None:
            segments.append(segment)
    covered, spoken = covered_speech([(s.start, s.end) for s in segments], speech)
    return ChunkTranscript(clip.index, language, tuple(segments), covered, spoken)


def _parse_segment(
    entry: dict[str, Any], after: float, duration: float, speech: Flags, *, spaced: bool
) -> Segment | None:
    """Return one segment, no earlier than `after`; None if it holds no text."""
    tokens = [token for token in entry.get("tokens", []) if not _SPECIAL.match(token["text"])]
    groups = [
        (text, sum(float(token["p"]) for token in group) / len(group))
        for group in _group_tokens(tokens, spaced=spaced)
        if (text := _decode(_joined(group)).strip())
    ]
    if not groups:
        return None
    start = min(max(entry["offsets"]["from"] / 1000, after), duration)
    end = min(max(entry["offsets"]["to"] / 1000, start), duration)  # it may lie beyond the audio
    times = spread_words([text for text, _ in groups], start, end, speech)
    words = tuple(
        Word(text, round(first, 3), round(last, 3), round(confidence, 4))
        for (text, confidence), (first, last) in zip(groups, times, strict=True)
    )
    confidence = sum(float(token["p"]) for token in tokens) / len(tokens)
    text = (" " if spaced else "").join(word.word for word in words)
    return Segment(words[0].start, words[-1].end, text, words, round(confidence, 4))


def _group_tokens(tokens: list[dict[str, Any]], *, spaced: bool) -> list[list[dict[str, Any]]]:
    """Split tokens where a word begins: at a space, or at each whole character where none are."""
    groups: list[list[dict[str, Any]]] = []
    for token in tokens:
        text = token["text"]
        if not groups:
            begins = True
        elif spaced:
            begins = text.startswith(" ")
        else:
            begins = _has_letters(text) and not _is_broken(_joined(groups[-1]))
        if begins:
            groups.append([token])
        else:
            groups[-1].append(token)
    # Punctuation that stands alone, such as a dash, goes with the word before it.
    words: list[list[dict[str, Any]]] = []
    for group in groups:
        if words and not _has_letters(_joined(group)):
            words[-1] += group
        else:
            words.append(group)
    return words


def _joined(tokens: list[dict[str, Any]]) -> str:
    return "".join(token["text"] for token in tokens)


def _has_letters(text: str) -> bool:
    """Whether text holds a letter, a digit, or a part of a character that may be one."""
    return any(c.isalnum() or "\udc80" <= c <= "\udcff" for c in text)


def _is_broken(text: str) -> bool:
    """Whether text ends within a character (its bytes came as separate tokens)."""
    return any("\udc80" <= c <= "\udcff" for c in text) and "\ufffd" in _decode(text)


def _decode(text: str) -> str:
    """Put characters together again whose bytes were spread over tokens."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _confidence(engine: Engine, number: int) -> float | None:
    """Return how sure the engine was of the language of its nth file; None where it was told."""
    said = _DETECTED.findall(engine.stderr)
    sure = float(said[number]) if number < len(said) else -1.0
    return round(sure, 4) if 0 <= sure <= 1 else None


def _read_json(path: Path) -> dict[str, Any] | None:
    """Return a JSON file's content, None while it is missing or still being written."""
    try:
        text = path.read_bytes().decode("utf-8", "surrogateescape")
        parsed = json.loads(text, strict=False)
    except (FileNotFoundError, ValueError):
        return None
    return parsed if isinstance(parsed, dict) else None


def _failure(engine: Engine) -> EngineFailed | EngineMissing:
    """Say why the subprocess ended without the output that was waited for."""
    status = engine.process.returncode or 0
    if status == _EXIT_MODEL_UNUSABLE:
        return EngineMissing("whisper-cli cannot load the speech model. Fetch it again.")
    if status < 0:
        return EngineFailed(f"whisper-cli was killed (signal {-status}).", code="engine_killed")
    if status == 0:
        return EngineFailed("whisper-cli ended without transcribing a chunk.")
    return EngineFailed(f"whisper-cli failed with status {status}: {engine.last_words()}")
