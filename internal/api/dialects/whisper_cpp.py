"""The API of whisper.cpp's own server."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Form, Response, UploadFile
from fastapi.responses import JSONResponse, PlainTextResponse
from pydantic import BaseModel, Field

from internal.api.dependencies import ContainerDep
from internal.api.dialects.common import ExchangeDep, Finished, language_code, language_name
from internal.api.dialects.whisper_json import segments_of, words_of
from internal.api.forms import Prompt, Temperature
from internal.api.receiving import AdmittedRoute, received
from internal.api.responses import errors
from services.upload_service import RequestedOptions
from worker.formats import to_srt, to_vtt

router = APIRouter(tags=["whisper.cpp"])
_uploads = APIRouter(route_class=AdmittedRoute)


class InferenceError(BaseModel):
    """The shape of its errors."""

    error: str


class InferenceForm(BaseModel):
    """The form of `POST /inference`. Its many other fields are ignored."""

    file: Annotated[UploadFile, Field(description="The recording.")]
    response_format: Annotated[
        str,
        Field(description="json, text, srt, verbose_json or vtt; others are json.", max_length=32),
    ] = "json"
    language: Annotated[str | None, Field(description="Found out if omitted.", max_length=32)] = (
        None
    )
    detect_language: Annotated[
        bool, Field(description="Find out the language, whichever is named.")
    ] = False
    translate: Annotated[bool, Field(description="Into English.")] = False
    prompt: Prompt = None
    temperature: Temperature = 0.0

    def options(self, *, english_only: bool) -> RequestedOptions:
        """Return what is asked for; a model of English is not asked for more, as by the original.

        Args:
            english_only: Whether the server's model is one.
        """
        task: Literal["transcribe", "translate"] = "translate" if self.translate else "transcribe"
        return RequestedOptions(
            language=None if english_only or self.detect_language else language_code(self.language),
            task="transcribe" if english_only else task,
            prompt=self.prompt,
            temperature=self.temperature,
        )


@_uploads.post(
    "/inference",
    summary="Transcribe (whisper.cpp)",
    responses={
        200: {
            "description": "The transcript in the format asked for.",
            "content": {
                "application/json": {"schema": {"type": "object"}},
                "text/plain": {"schema": {"type": "string"}},
                "application/x-subrip": {"schema": {"type": "string"}},
                "text/vtt": {"schema": {"type": "string"}},
            },
        },
        **errors(400, 409, 413, 415, 429, 500, 503, model=InferenceError),
    },
)
async def inference(
    form: Annotated[InferenceForm, Form(media_type="multipart/form-data")],
    exchange: ExchangeDep,
    container: ContainerDep,
) -> Response:
    """Transcribe a recording and answer with the transcript.

    `X-Task-Id` names the task behind it.
    """
    options = form.options(english_only=container.languages.only_language() is not None)
    finished = await exchange.transcribe(await received(form.file), options)
    transcript = finished.transcript
    match form.response_format:
        case "text":
            return PlainTextResponse(_lines(transcript))
        case "srt":
            return PlainTextResponse(to_srt(transcript), media_type="application/x-subrip")
        case "vtt":
            return PlainTextResponse(to_vtt(transcript), media_type="text/vtt")
        case "verbose_json":
            return JSONResponse(_verbose(finished))
        case _:
            return JSONResponse({"text": _lines(transcript)})


router.include_router(_uploads)


@router.get("/health", summary="Is the process alive? (whisper.cpp)")
async def health() -> dict[str, str]:
    """Answer as long as the process does, like `/health/live`."""
    return {"status": "ok"}


def _lines(transcript: dict[str, Any]) -> str:
    """Return the text as the original does: a line for each segment."""
    return "".join(f" {segment['text']}\n" for segment in transcript["segments"])


def _verbose(finished: Finished) -> dict[str, Any]:
    transcript, options = finished.transcript, finished.job.options
    language = language_name(transcript["language"])
    segments = segments_of(transcript, options.temperature)
    for values, segment in zip(segments, transcript["segments"], strict=True):
        values["words"] = words_of(segment)
    values = {
        "task": options.task,
        "language": language,
        "duration": transcript["duration"],
        "text": _lines(transcript),
        "segments": segments,
    }
    if (confidence := transcript["language_confidence"]) is not None:
        values["detected_language"] = language
        values["detected_language_probability"] = confidence
    return values
