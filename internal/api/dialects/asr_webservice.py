"""The API of whisper-asr-webservice, which Bazarr and other subtitle programs speak."""

from __future__ import annotations

import asyncio
import json
import tempfile
import wave
from contextlib import closing
from typing import Annotated, Any, BinaryIO, Literal
from urllib.parse import quote

from fastapi import APIRouter, File, Query, UploadFile
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, Field

from core.logger import logged_operation
from core.storage.folder import translate_os_error
from internal.api.dependencies import ContainerDep
from internal.api.dialects.common import ExchangeDep, Finished, language_code, language_name
from internal.api.dialects.whisper_json import segments_of, words_of
from internal.api.forms import Prompt, SpeakerCount
from internal.api.receiving import AdmittedRoute, received
from internal.api.responses import errors
from services.recording import shown_name
from services.speaker_service import RequestedSpeakers
from services.upload_service import RequestedOptions, Upload
from worker.constants import SAMPLE_BYTES, SAMPLE_RATE
from worker.formats import FORMATS, to_tsv

router = APIRouter(tags=["whisper-asr-webservice"], route_class=AdmittedRoute)

_OUTPUTS = ("txt", "vtt", "srt", "tsv", "json")
_ENGINE = "whisper.cpp"


class DetailBody(BaseModel):
    """The shape of its errors."""

    detail: str


class DetectedLanguage(BaseModel):
    """What is spoken in a recording."""

    detected_language: str = Field(examples=["english"])
    language_code: str = Field(examples=["en"])
    confidence: float = Field(description="How sure the model is of it.", ge=0, le=1)


AudioFile = Annotated[UploadFile, File(description="The recording.")]
Encode = Annotated[
    bool,
    Query(description="`false`: it is bare samples, 16 bits, little-endian, 16 kHz, one channel."),
]
_FAILURES = errors(409, 413, 415, 422, 429, 500, 503, model=DetailBody)


@router.post(
    "/asr",
    summary="Transcribe (whisper-asr-webservice)",
    response_class=PlainTextResponse,
    responses=_FAILURES,
)
async def asr(
    audio_file: AudioFile,
    exchange: ExchangeDep,
    encode: Encode = True,
    task: Literal["transcribe", "translate"] = "transcribe",
    language: Annotated[
        str | None, Query(description="Found out if omitted.", max_length=32)
    ] = None,
    initial_prompt: Annotated[Prompt, Query()] = None,
    vad_filter: Annotated[
        bool, Query(description="Of no effect: what holds no speech is never transcribed.")
    ] = False,
    word_timestamps: Annotated[bool, Query(description="Whether json lists the words.")] = False,
    diarize: Annotated[bool, Query(description="Whether to find out who says what.")] = False,
    min_speakers: Annotated[SpeakerCount, Query()] = None,
    max_speakers: Annotated[SpeakerCount, Query()] = None,
    output: Annotated[
        str, Query(description="txt, vtt, srt, tsv or json; anything else is txt.", max_length=100)
    ] = "txt",
) -> PlainTextResponse:
    """Transcribe a recording and answer with a file.

    `X-Task-Id` names the task behind it. Other parameters are ignored.
    """
    # Those who do not want speakers may say how many there are all the same.
    hints = (min_speakers, max_speakers) if diarize else (None, None)
    options = RequestedOptions(
        language=language_code(language),
        task=task,
        prompt=initial_prompt,
        diarize=diarize,
        speakers=RequestedSpeakers(None, *hints),
    )
    finished = await exchange.transcribe(await _receive(audio_file, encode=encode), options)
    extension = output if output in _OUTPUTS else "txt"
    text = await asyncio.to_thread(_render, finished, extension, words=word_timestamps)
    name = f"{quote(shown_name(audio_file.filename), safe='')}.{extension}"
    headers = {"Asr-Engine": _ENGINE, "Content-Disposition": f'attachment; filename="{name}"'}
    return PlainTextResponse(text, headers=headers)


@router.post(
    "/detect-language",
    summary="Which language is it? (whisper-asr-webservice)",
    responses=_FAILURES,
)
async def detect_language(
    audio_file: AudioFile, exchange: ExchangeDep, container: ContainerDep, encode: Encode = True
) -> DetectedLanguage:
    """Find out what is spoken in a recording, by the 30 s that follow its first sound.

    A model that knows English alone takes everything for English.
    """
    upload = await _receive(audio_file, encode=encode)
    with closing(upload.file):
        clip = await container.languages.first_speech(upload)
    if only := container.languages.only_language():
        clip.file.close()
        return _detected(only, 1.0)
    transcript = (await exchange.transcribe(clip, container.languages.options())).transcript
    return _detected(transcript["language"], transcript["language_confidence"] or 0.0)


def _detected(code: str, confidence: float) -> DetectedLanguage:
    return DetectedLanguage(
        detected_language=language_name(code), language_code=code, confidence=confidence
    )


async def _receive(file: UploadFile, *, encode: bool) -> Upload:
    upload = await received(file)
    if encode:
        return upload
    with logged_operation("wrap raw samples", translate=translate_os_error, quiet=True):
        return Upload(await asyncio.to_thread(_as_wav, upload.file), upload.file_name)


def _as_wav(samples: BinaryIO) -> BinaryIO:
    """Return bare samples as a WAV; nothing stays nothing, which is refused for what it is."""
    wrapped = tempfile.TemporaryFile()  # noqa: SIM115 - handed to the caller
    samples.seek(0)
    if samples.read(1):
        samples.seek(0)
        with wave.open(wrapped, "wb") as out:
            out.setnchannels(1)
            out.setsampwidth(SAMPLE_BYTES)
            out.setframerate(SAMPLE_RATE)
            while block := samples.read(1 << 20):
                out.writeframesraw(block)
    return wrapped


def _render(finished: Finished, extension: str, *, words: bool) -> str:
    transcript = finished.transcript
    match extension:
        case "json":
            return json.dumps(_to_json(finished, words=words), ensure_ascii=False)
        case "tsv":
            return to_tsv({**transcript, "speakers": []})  # it has three columns
        case _:
            return FORMATS[extension].render(transcript)


def _to_json(finished: Finished, *, words: bool) -> dict[str, Any]:
    transcript = finished.transcript
    labels = {speaker["id"]: speaker["label"] for speaker in transcript["speakers"]}
    segments = segments_of(transcript, finished.job.options.temperature)
    for values, segment in zip(segments, transcript["segments"], strict=True):
        if words:
            values["words"] = words_of(segment)
        if segment["speaker"] in labels:
            values["speaker"] = labels[segment["speaker"]]
    return {"language": transcript["language"], "segments": segments, "text": transcript["text"]}
