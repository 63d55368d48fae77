"""What OpenAI's clients send. Arrays come as `x` or `x[]`; fields of newer clients are ignored."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from typing import Annotated, Literal

from fastapi import UploadFile
from pydantic import BaseModel, Field

from core.errors import InvalidInput
from internal.api.dialects.common import language_code
from internal.api.dialects.openai_answers import Rendering
from internal.api.forms import Prompt, Temperature
from services.upload_service import KnownSpeaker, RequestedOptions

# As many as OpenAI takes: our own API takes more, and as files.
_MOST_KNOWN_SPEAKERS = 4
_DATA_URL = re.compile(r"data:[^,]*;base64,(?P<content>[A-Za-z0-9+/=\s]+)")

Granularities = list[Literal["word", "segment"]]


class SpeechForm(BaseModel):
    """What transcriptions and translations have in common."""

    file: Annotated[UploadFile, Field(description="The recording.")]
    model: Annotated[
        str, Field(description="One of `GET /v1/models`.", max_length=100, examples=["whisper-1"])
    ] = "whisper-1"
    prompt: Prompt = None
    temperature: Temperature = 0.0


class TranslationForm(SpeechForm):
    """The form of `POST /v1/audio/translations`."""

    response_format: Literal["json", "text", "srt", "verbose_json", "vtt"] = "json"

    def options(self, model: str | None, *, diarizes: bool) -> RequestedOptions:
        """Return what is asked for, with our own name of the model."""
        return RequestedOptions(
            model=model,
            task="translate",
            prompt=self.prompt,
            temperature=self.temperature,
            diarize=diarizes,
        )


class TranscriptionForm(SpeechForm):
    """The form of `POST /v1/audio/transcriptions`."""

    language: Annotated[
        str | None, Field(description="Of the recording; found out if omitted.", max_length=32)
    ] = None
    response_format: Literal["json", "text", "srt", "verbose_json", "vtt", "diarized_json"] = "json"
    stream: Annotated[
        bool, Field(description="Answer with events, of formats json, text and diarized_json.")
    ] = False
    timestamp_granularities: Annotated[
        Granularities, Field(description="Of verbose_json. `x[]` is the same.")
    ] = []
    timestamp_granularities_array: Annotated[
        Granularities, Field(alias="timestamp_granularities[]")
    ] = []
    include: Annotated[
        list[str], Field(description="`logprobs`: of each word, with format json.")
    ] = []
    include_array: Annotated[list[str], Field(alias="include[]")] = []
    known_speaker_names: Annotated[
        list[str], Field(description="Who may speak: at most four.")
    ] = []
    known_speaker_names_array: Annotated[list[str], Field(alias="known_speaker_names[]")] = []
    known_speaker_references: Annotated[
        list[str], Field(description="A clip of each one's voice, as a data URL.")
    ] = []
    known_speaker_references_array: Annotated[
        list[str], Field(alias="known_speaker_references[]")
    ] = []
    chunking_strategy: Annotated[
        str | None, Field(description="Accepted, and of no effect: recordings are always cut.")
    ] = None

    def options(self, model: str | None, *, diarizes: bool) -> RequestedOptions:
        """Return what is asked for, with our own name of the model.

        Raises:
            InvalidInput: Fields do not fit together.
        """
        if self.stream and self.response_format not in ("json", "text", "diarized_json"):
            raise InvalidInput(
                f"There are no events of the format {self.response_format}. Ask for json, text or "
                "diarized_json, or do without stream.",
                code="invalid_option",
                param="stream",
            )
        return RequestedOptions(
            language=language_code(self.language),
            model=model,
            prompt=self.prompt,
            temperature=self.temperature,
            diarize=diarizes or self.response_format == "diarized_json",
            known_speakers=_known_speakers(
                [*self.known_speaker_names, *self.known_speaker_names_array],
                [*self.known_speaker_references, *self.known_speaker_references_array],
            ),
        )

    def rendering(self) -> Rendering:
        """Return how the transcript is to be answered."""
        granularities = {*self.timestamp_granularities, *self.timestamp_granularities_array}
        return Rendering(
            self.response_format,
            words="word" in granularities,
            segments=not granularities or "segment" in granularities,
            logprobs="logprobs" in [*self.include, *self.include_array],
        )


def _known_speakers(names: Sequence[str], clips: Sequence[str]) -> tuple[KnownSpeaker, ...]:
    if len(names) > _MOST_KNOWN_SPEAKERS or len(names) != len(clips):
        raise InvalidInput(
            f"There are {len(names)} known_speaker_names and {len(clips)} "
            "known_speaker_references. Send one of each for every person, in the same order, and "
            f"at most {_MOST_KNOWN_SPEAKERS}.",
            code="invalid_known_speakers",
        )
    return tuple(
        KnownSpeaker(name, _decode(clip, number))
        for number, (name, clip) in enumerate(zip(names, clips, strict=True), start=1)
    )


def _decode(url: str, number: int) -> bytes:
    found = _DATA_URL.fullmatch(url)
    try:
        if found is not None:
            return base64.b64decode(found["content"])
    except binascii.Error:
        pass
    raise InvalidInput(
        f"The clip of known speaker {number} is not a data URL. "
        "It has to begin like data:audio/wav;base64, and go on with the file in base64.",
        code="invalid_known_speaker_clip",
    )
