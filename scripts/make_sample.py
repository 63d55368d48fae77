#!/usr/bin/env python3
"""Speak a written conversation into a recording whose every word time is known.

The script file casts the speakers and lists one sentence a line::

    # a comment
    @voice Laura flite slt
    @voice Henry espeak en+m3 rate=150 pitch=38
    Laura: Good morning everyone.
    @pause 4
    Henry: The new release is ready.

``PREFIX.wav`` (16 kHz, mono, 16 bit) and ``PREFIX.json`` (who says what and when)
come out. Word times are the synthesizers' own, so they can serve as the truth that
transcripts are measured against. The same script, seed and synthesizer versions
give the same bytes.

Needs the shared libraries of espeak-ng and flite: ``apt-get install espeak-ng flite``.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import random
import re
import sys
import wave
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

Samples: TypeAlias = NDArray[np.float64]

RATE = 16_000
INSTALL_HINT = "install the synthesizers: apt-get install espeak-ng flite"
SPEECH_THRESHOLD = 150.0  # of 32767; quieter samples at a clip's ends are trimmed
KEEP_BEFORE = 160  # samples of lead-in kept before the first loud one
KEEP_AFTER = 320
SPEECH_RMS = 2_700.0
NOISE_RMS = 20.0
LEAD_IN = 0.5  # seconds before the first and after the last sentence
PAUSE_SAME_SPEAKER = (0.3, 0.6)
PAUSE_NEXT_SPEAKER = (0.6, 1.2)
WORD = re.compile(r"[\w'-]+")


class SampleError(Exception):
    """The sample cannot be made; the message says what to do about it."""


@dataclass(frozen=True)
class Word:
    """A spoken word and its place in seconds."""

    word: str
    start: float
    end: float

    def moved(self, seconds: float, limit: float) -> Word:
        """Return the word moved by `seconds`, kept between 0 and `limit`."""
        start, end = (min(max(t + seconds, 0.0), limit) for t in (self.start, self.end))
        return Word(self.word, start, end)


@dataclass(frozen=True)
class Clip:
    """One spoken sentence, 16 kHz, with the words' places in it."""

    samples: Samples
    words: list[Word]

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return len(self.samples) / RATE


@dataclass(frozen=True)
class VoiceSpec:
    """How a speaker sounds; `None` keeps the synthesizer's own rate or pitch."""

    engine: str
    voice: str
    rate: float | None = None
    pitch: float | None = None


@dataclass(frozen=True)
class Line:
    """A sentence of the script; `pause_before` replaces the natural pause unless 0."""

    speaker: str
    text: str
    pause_before: float = 0.0


@dataclass
class Script:
    """A parsed script: the cast and the sentences in order."""

    voices: dict[str, VoiceSpec] = field(default_factory=dict)
    lines: list[Line] = field(default_factory=list)


class Synthesizer(Protocol):
    """Speaks sentences with one voice."""

    def speak(self, text: str) -> Clip:
        """Return `text` spoken, untrimmed, at 16 kHz."""
        ...


# --- The script file -------------------------------------------------------------------


def parse_script(text: str) -> Script:
    """Read the script format described at the top of this module.

    Args:
        text: The content of a script file.

    Returns:
        The cast and the sentences.

    Raises:
        SampleError: A line is malformed or its speaker has no voice.
    """
    script = Script()
    pause = 0.0
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        try:
            if line.startswith("@voice "):
                name, spec = parse_voice(line)
                script.voices[name] = spec
            elif line.startswith("@pause "):
                pause += float(line.removeprefix("@pause "))
            else:
                script.lines.append(parse_line(line, script.voices, pause))
                pause = 0.0
        except ValueError as error:
            raise SampleError(f"line {number}: {error}: {line!r}") from error
    if not script.lines:
        raise SampleError("the script has no sentences")
    return script


def parse_voice(line: str) -> tuple[str, VoiceSpec]:
    """Parse ``@voice NAME ENGINE VOICE [rate=N] [pitch=N]``.

    Raises:
        ValueError: The line does not have that form.
    """
    parts = line.split()[1:]
    if len(parts) < 3 or parts[1] not in ENGINES:
        raise ValueError(f"expected '@voice NAME {'|'.join(ENGINES)} VOICE [rate=N] [pitch=N]'")
    name, engine, voice, *options = parts
    values: dict[str, float] = {}
    for option in options:
        key, _, value = option.partition("=")
        if key not in {"rate", "pitch"}:
            raise ValueError(f"unknown voice option {key!r}")
        values[key] = float(value)
    return name, VoiceSpec(engine, voice, values.get("rate"), values.get("pitch"))


def parse_line(line: str, voices: dict[str, VoiceSpec], pause: float) -> Line:
    """Parse ``Speaker: text``.

    Raises:
        ValueError: The line does not have that form, or the speaker has no voice.
    """
    speaker, colon, text = (part.strip() for part in line.partition(":"))
    if not colon or not text:
        raise ValueError("expected 'Speaker: text'")
    if speaker not in voices:
        raise ValueError(f"no '@voice {speaker} …' line above")
    return Line(speaker, text, pause)


# --- Synthesizers ----------------------------------------------------------------------


def load_library(name: str) -> ctypes.CDLL:
    """Load a shared library or say how to install it."""
    try:
        return ctypes.CDLL(name)
    except OSError as error:
        raise SampleError(f"cannot load {name} ({error}); {INSTALL_HINT}") from error


class EspeakEvent(ctypes.Structure):
    """``espeak_EVENT`` of espeak-ng's ``speak_lib.h``."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_char * 8),
    )


ESPEAK_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(EspeakEvent)
)


class Espeak:
    """espeak-ng through its library, which reports where each word starts."""

    SYNCHRONOUS, PHONEME_EVENTS = 2, 1
    LIST_END, WORD_EVENT, PHONEME_EVENT = 0, 1, 7
    RATE_PARAMETER, PITCH_PARAMETER = 1, 3
    POSITION_IS_CHARACTER, UTF8 = 1, 1
    PAUSES = (b"_", b"_:", b"")

    def __init__(self, spec: VoiceSpec) -> None:
        """Load the library and check that it has the voice."""
        self._spec = spec
        self._library = load_library("libespeak-ng.so.1")
        self._sample_rate = self._library.espeak_Initialize(
            self.SYNCHRONOUS, 0, None, self.PHONEME_EVENTS
        )
        if self._sample_rate <= 0:
            raise SampleError(f"espeak-ng found no data files; {INSTALL_HINT}")
        self._select_voice()

    def _select_voice(self) -> None:
        """Set voice, rate and pitch, which the library keeps process-wide."""
        if self._library.espeak_SetVoiceByName(self._spec.voice.encode()) != 0:
            raise SampleError(f"espeak-ng has no voice {self._spec.voice!r}")
        for parameter, value, default in (
            (self.RATE_PARAMETER, self._spec.rate, 175),
            (self.PITCH_PARAMETER, self._spec.pitch, 50),
        ):
            self._library.espeak_SetParameter(
                parameter, int(default if value is None else value), 0
            )

    def speak(self, text: str) -> Clip:
        """Return `text` spoken, untrimmed, at 16 kHz."""
        self._select_voice()
        chunks: list[NDArray[np.int16]] = []
        starts: dict[int, float] = {}
        pauses: list[float] = []

        def receive(data: Any, count: int, events: Any) -> int:
            if data and count:
                chunks.append(np.ctypeslib.as_array(data, (count,)).copy())
            index = 0
            while events[index].type != self.LIST_END:
                event = events[index]
                if event.type == self.WORD_EVENT:
                    starts.setdefault(event.text_position - 1, event.audio_position / 1000)
                elif event.type == self.PHONEME_EVENT and event.id in self.PAUSES:
                    pauses.append(event.audio_position / 1000)
                index += 1
            return 0

        callback = ESPEAK_CALLBACK(receive)
        self._library.espeak_SetSynthCallback(callback)
        raw = text.encode()
        status = self._library.espeak_Synth(
            raw, len(raw) + 1, 0, self.POSITION_IS_CHARACTER, 0, self.UTF8, None, None
        )
        if status != 0 or not chunks:
            raise SampleError(f"espeak-ng said nothing for {text!r} (status {status})")
        samples = np.concatenate(chunks).astype(np.float64)
        words = self._words(text, starts, pauses, len(samples) / self._sample_rate)
        return Clip(resample(samples, self._sample_rate), words)

    @staticmethod
    def _words(
        text: str, starts: dict[int, float], pauses: list[float], duration: float
    ) -> list[Word]:
        """Match the word events to the text.

        A stretch lasts from an event to the next pause or event. Short words that
        espeak-ng runs together ("do not") get one event: they share its stretch in
        proportion to their letters.
        """
        spelled = list(WORD.finditer(text))
        if spelled[0].start() not in starts:
            raise SampleError(f"espeak-ng reported no words in {text!r}")
        groups: list[list[str]] = []
        begins: list[float] = []
        for match in spelled:
            if match.start() in starts:
                groups.append([])
                begins.append(starts[match.start()])
            groups[-1].append(match.group())
        words = []
        for group, start, following in zip(groups, begins, [*begins[1:], duration], strict=True):
            end = min((pause for pause in pauses if start < pause < following), default=following)
            words += share(group, start, end)
        return words


def share(words: list[str], start: float, end: float) -> list[Word]:
    """Divide a stretch of time among words in proportion to their letters."""
    edges = start + (end - start) * np.cumsum([0, *map(len, words)]) / len("".join(words))
    spans = zip(words, edges.tolist(), edges.tolist()[1:], strict=False)
    return [Word(word, first, last) for word, first, last in spans]


class FliteWave(ctypes.Structure):
    """``cst_wave`` of flite's ``cst_wave.h``."""

    _fields_ = (
        ("type", ctypes.c_char_p),
        ("sample_rate", ctypes.c_int),
        ("num_samples", ctypes.c_int),
        ("num_channels", ctypes.c_int),
        ("samples", ctypes.POINTER(ctypes.c_short)),
    )


class FliteVoice(ctypes.Structure):
    """The first members of ``cst_voice`` of flite's ``cst_voice.h``."""

    _fields_ = (("name", ctypes.c_char_p), ("features", ctypes.c_void_p))


class Flite:
    """flite through its library, whose utterances hold each segment's end time."""

    WORD_START = b"R:SylStructure.daughter1.daughter1.R:Segment.p.end"
    WORD_END = b"R:SylStructure.daughtern.daughtern.R:Segment.end"

    def __init__(self, spec: VoiceSpec) -> None:
        """Load the library and the voice (`rate` 1.2 speaks a fifth faster)."""
        self._library = load_library("libflite.so.1")
        pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_float
        for name, result, arguments in (
            ("flite_init", ctypes.c_int, []),
            ("flite_synth_text", pointer, [text, pointer]),
            ("utt_wave", ctypes.POINTER(FliteWave), [pointer]),
            ("utt_relation", pointer, [pointer, text]),
            ("relation_head", pointer, [pointer]),
            ("item_next", pointer, [pointer]),
            ("flite_ffeature_float", number, [pointer, text]),
            ("flite_feat_set_float", None, [pointer, text, number]),
            ("delete_utterance", None, [pointer]),
        ):
            function = getattr(self._library, name)
            function.restype, function.argtypes = result, arguments
        self._library.flite_init()
        self._voice = self._load_voice(spec)

    def _load_voice(self, spec: VoiceSpec) -> Any:
        """Return a pointer to the voice with its rate and pitch set."""
        register = getattr(
            load_library(f"libflite_cmu_us_{spec.voice}.so.1"), f"register_cmu_us_{spec.voice}"
        )
        register.restype, register.argtypes = ctypes.POINTER(FliteVoice), [ctypes.c_char_p]
        voice = register(None)
        features = voice.contents.features
        if spec.rate is not None:
            self._library.flite_feat_set_float(features, b"duration_stretch", 1 / spec.rate)
        if spec.pitch is not None:
            self._library.flite_feat_set_float(features, b"int_f0_target_mean", spec.pitch)
        return voice

    def speak(self, text: str) -> Clip:
        """Return `text` spoken, untrimmed, at 16 kHz."""
        utterance = self._library.flite_synth_text(text.encode(), self._voice)
        if not utterance:
            raise SampleError(f"flite said nothing for {text!r}")
        try:
            sound = self._library.utt_wave(utterance).contents
            shape = (sound.num_samples,)
            samples = np.ctypeslib.as_array(sound.samples, shape).astype(np.float64)
            words = self._words(utterance, text)
            return Clip(resample(samples, sound.sample_rate), words)
        finally:
            self._library.delete_utterance(utterance)

    def _words(self, utterance: Any, text: str) -> list[Word]:
        """Walk the utterance's words, of which there must be as many as in the text."""
        words: list[Word] = []
        item = self._library.relation_head(self._library.utt_relation(utterance, b"Word"))
        for match in WORD.finditer(text):
            if not item:
                break
            start = self._library.flite_ffeature_float(item, self.WORD_START)
            end = self._library.flite_ffeature_float(item, self.WORD_END)
            words.append(Word(match.group(), start, end))
            item = self._library.item_next(item)
        if item or len(words) != len(WORD.findall(text)):
            raise SampleError(f"flite splits {text!r} into other words; write numbers out")
        return words


ENGINES: dict[str, type[Espeak] | type[Flite]] = {"espeak": Espeak, "flite": Flite}


# --- Sound -----------------------------------------------------------------------------


def resample(samples: Samples, rate: int) -> Samples:
    """Return the samples at 16 kHz, resampled in the frequency domain."""
    if rate == RATE:
        return samples
    common = int(np.gcd(rate, RATE))
    step, out_step = rate // common, RATE // common
    blocks = -(-len(samples) // step) + 1  # one block of padding, against wrap-around
    padded = np.zeros(blocks * step)
    padded[: len(samples)] = samples
    spectrum = np.fft.rfft(padded)
    length = blocks * out_step
    wanted = np.zeros(length // 2 + 1, dtype=spectrum.dtype)
    kept = min(len(wanted), len(spectrum))
    wanted[:kept] = spectrum[:kept]
    scaled = np.fft.irfft(wanted, length) * (out_step / step)
    return scaled[: round(len(samples) * out_step / step)]


def trim(clip: Clip) -> Clip:
    """Cut the silence at both ends, level the loudness and move the words along."""
    loud = np.flatnonzero(np.abs(clip.samples) > SPEECH_THRESHOLD)
    if not len(loud):
        raise SampleError("a sentence came out silent")
    first = max(0, int(loud[0]) - KEEP_BEFORE)
    samples = clip.samples[first : int(loud[-1]) + KEEP_AFTER]
    samples = samples * (SPEECH_RMS / np.sqrt(np.mean(samples**2)))
    words = [word.moved(-first / RATE, len(samples) / RATE) for word in clip.words]
    return Clip(samples, words)


def silence(seconds: float) -> Samples:
    """Return silence, to the nearest sample."""
    return np.zeros(round(seconds * RATE))


def perform(script: Script, seed: int) -> tuple[Samples, list[dict[str, Any]]]:
    """Speak the whole script.

    Args:
        script: What to say and in which voices.
        seed: Decides the pauses and the background noise.

    Returns:
        The recording, and its turns in the form that the JSON file holds.
    """
    chance = random.Random(seed)
    cast: dict[str, Synthesizer] = {
        name: ENGINES[spec.engine](spec) for name, spec in script.voices.items()
    }
    parts = [silence(LEAD_IN)]
    turns: list[dict[str, Any]] = []
    for index, line in enumerate(script.lines):
        if index:
            same = script.lines[index - 1].speaker == line.speaker
            pause = chance.uniform(*(PAUSE_SAME_SPEAKER if same else PAUSE_NEXT_SPEAKER))
            parts.append(silence(line.pause_before or pause))
        at = sum(map(len, parts)) / RATE
        clip = trim(cast[line.speaker].speak(line.text))
        parts.append(clip.samples)
        turns.append(describe_turn(line, clip, at))
    recording = np.concatenate([*parts, silence(LEAD_IN)])
    noise = np.random.default_rng(seed).standard_normal(len(recording)) * NOISE_RMS
    return recording + noise, turns


def describe_turn(line: Line, clip: Clip, at: float) -> dict[str, Any]:
    """Return the JSON entry of a sentence that starts `at` seconds into the recording."""
    end = at + clip.duration
    return {
        "speaker": line.speaker,
        "start": round(at, 3),
        "end": round(end, 3),
        "text": line.text,
        "words": [
            {"word": w.word, "start": round(w.start, 3), "end": round(w.end, 3)}
            for w in (word.moved(at, end) for word in clip.words)
        ],
    }


# --- Files -----------------------------------------------------------------------------


def write_wav(path: Path, samples: Samples) -> None:
    """Write 16 kHz mono 16-bit PCM."""
    data = np.clip(np.round(samples), -32768, 32767).astype("<i2").tobytes()
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(data)


def write_json(path: Path, script: Script, samples: Samples, turns: list[dict[str, Any]]) -> None:
    """Write who says what and when."""
    content = {
        "sample_rate": RATE,
        "duration": round(len(samples) / RATE, 3),
        "voices": {name: asdict(spec) for name, spec in script.voices.items()},
        "turns": turns,
    }
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def main() -> int:
    """Run the command line and return its exit code."""
    parser = argparse.ArgumentParser(description="Speak a written conversation.")
    parser.add_argument("--script", type=Path, default=Path("samples/meeting.txt"))
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("samples/meeting"),
        metavar="PREFIX",
        help="writes PREFIX.wav and PREFIX.json",
    )
    parser.add_argument("--seed", type=int, default=7, help="of the pauses and the noise")
    options = parser.parse_args()
    try:
        script = parse_script(options.script.read_text(encoding="utf-8"))
        samples, turns = perform(script, options.seed)
        write_wav(options.out.with_suffix(".wav"), samples)
        write_json(options.out.with_suffix(".json"), script, samples, turns)
    except (SampleError, OSError) as error:
        print(f"make_sample: {error}", file=sys.stderr)
        return 1
    print(f"{options.out}.wav: {len(samples) / RATE:.1f} s, {len(turns)} sentences")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
