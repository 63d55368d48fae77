"""What requests look like: the options of a task, as form fields and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, BinaryIO, Literal

from fastapi import UploadFile
from pydantic import Base64Bytes, BaseModel, ConfigDict, Field, StringConstraints

from core.errors import InvalidInput
from services.known_speakers import MOST_KNOWN_SPEAKERS, KnownSpeaker
from services.speaker_service import MOST_SPEAKERS, RequestedSpeakers
from services.upload_service import RequestedOptions

# It becomes an argument of a program, and those end at a NUL.
_NO_NUL = "^[^\\x00]*$"
# What the server calls speakers; people's names for them are kept under it.
_SPEAKER_ID = "^SPEAKER_[0-9]{2,4}$"
_LONGEST_KEPT_HOURS = 10 * 366 * 24
LONGEST_URL = 2000


SpeakerCount = Annotated[
    int | None, Field(description="How many speakers, if known.", ge=1, le=MOST_SPEAKERS)
]
Prompt = Annotated[
    str | None,
    Field(
        description="Names and words to expect, in the style to write.",
        max_length=1000,
        pattern=_NO_NUL,
    ),
]
Temperature = Annotated[
    float, Field(description="How freely the model picks among likely words.", ge=0, le=1)
]
SpeakerNames = dict[
    Annotated[str, StringConstraints(pattern=_SPEAKER_ID)],
    Annotated[
        str,
        # No line breaks and the like: names stand in subtitles and tables.
        StringConstraints(
            strip_whitespace=True, min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$"
        ),
    ]
    | None,
]


class RediarizeIn(BaseModel):
    """What is known now about the number of speakers."""

    model_config = ConfigDict(extra="forbid")

    num_speakers: SpeakerCount = None
    min_speakers: SpeakerCount = None
    max_speakers: SpeakerCount = None

    @property
    def speakers(self) -> RequestedSpeakers:
        """The same, for the service."""
        return RequestedSpeakers(self.num_speakers, self.min_speakers, self.max_speakers)


class TaskOptionsIn(RediarizeIn):
    """What can be asked for, however the recording comes. Other fields are refused."""

    language: Annotated[
        str | None,
        Field(description="Code of the language spoken, or `auto`.", examples=["en"], max_length=8),
    ] = None
    model: Annotated[
        str | None,
        Field(description="Speech model; the server's default where omitted.", max_length=64),
    ] = None
    prompt: Prompt = None
    task: Annotated[
        Literal["transcribe", "translate"],
        Field(description="Write in the language spoken, or translate into English."),
    ] = "transcribe"
    temperature: Temperature = 0.0
    word_timestamps: Annotated[bool, Field(description="Whether segments list their words.")] = True
    chunking: Annotated[
        Literal["silence", "fixed"],
        Field(description="Cut in quiet gaps (best), or every 28 s whatever is said there."),
    ] = "silence"
    diarize: Annotated[bool, Field(description="Whether to find out who says what.")] = False
    known_speaker_names: Annotated[
        list[str],
        Field(
            description="Who may speak, with a clip of each: found by their voices, they have "
            "their names in the transcript. Once for each.",
            examples=[["Laura"]],
            max_length=MOST_KNOWN_SPEAKERS,
        ),
    ] = []
    webhook_url: Annotated[
        str | None,
        Field(
            description="Told of the task's end. It becomes one of your webhooks.",
            examples=["https://example.org/hooks/transcripts"],
            min_length=1,
            max_length=LONGEST_URL,
        ),
    ] = None
    keep_hours: Annotated[
        float | None,
        Field(
            description="How long the task is kept after its end; the server's default if omitted.",
            gt=0,
            le=_LONGEST_KEPT_HOURS,
        ),
    ] = None
    reuse: Annotated[
        bool,
        Field(description="Whether a transcript of the same bytes and options may be taken over."),
    ] = True

    @property
    def options(self) -> RequestedOptions:
        """What is asked for, for the service."""
        return RequestedOptions(
            language=self.language,
            model=self.model,
            prompt=self.prompt,
            task=self.task,
            temperature=self.temperature,
            word_timestamps=self.word_timestamps,
            chunking=self.chunking,
            diarize=self.diarize,
            known_speakers=self._known_speakers,
            speakers=self.speakers,
            webhook_url=self.webhook_url,
            keep_hours=self.keep_hours,
            reuse=self.reuse,
        )

    @property
    def _clips(self) -> Sequence[bytes | BinaryIO]:
        """The known speakers' clips, which every way to send options has in a form of its own."""
        return ()

    @property
    def _known_speakers(self) -> tuple[KnownSpeaker, ...]:
        names, clips = self.known_speaker_names, self._clips
        if len(names) != len(clips):
            raise InvalidInput(
                f"There are {len(names)} known_speaker_names and {len(clips)} "
                "known_speaker_clips. Send one of each for every person, in the same order.",
                code="invalid_known_speakers",
            )
        return tuple(KnownSpeaker(name, clip) for name, clip in zip(names, clips, strict=True))


class UploadForm(TaskOptionsIn):
    """The form of `POST /upload`."""

    file: Annotated[
        UploadFile,
        Field(description="The recording: wav, mp3, flac, ogg, opus, m4a, mp4, webm, mkv, …"),
    ]
    known_speaker_clips: Annotated[
        list[UploadFile],
        Field(
            description="1 to 30 s of each one's voice alone, in the order of the names.",
            max_length=MOST_KNOWN_SPEAKERS,
        ),
    ] = []

    @property
    def _clips(self) -> Sequence[bytes | BinaryIO]:
        return [clip.file for clip in self.known_speaker_clips]


class JsonOptionsIn(TaskOptionsIn):
    """Options beside a recording that is somewhere else."""

    known_speaker_clips: Annotated[
        list[Base64Bytes],
        Field(
            description="1 to 30 s of each one's voice alone, as base64, in the names' order.",
            max_length=MOST_KNOWN_SPEAKERS,
        ),
    ] = []

    @property
    def _clips(self) -> Sequence[bytes | BinaryIO]:
        return self.known_speaker_clips
