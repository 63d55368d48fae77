"""The format of a written conversation."""

from __future__ import annotations

from dataclasses import dataclass, field

from synthesis import ENGINES
from synthesis.clip import SampleError, VoiceSpec


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


def parse_script(text: str) -> Script:
    """Read the script format that `make_sample.py` describes.

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
