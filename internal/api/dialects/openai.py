"""OpenAI's audio API: its `openai` packages and whatever else was written for it work here."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Form, Path, Response
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse
from pydantic import BaseModel, Field

from core.errors import NotFound
from internal.api.dependencies import ContainerDep
from internal.api.dialects.common import ExchangeDep
from internal.api.dialects.openai_answers import Rendering, render
from internal.api.dialects.openai_forms import SpeechForm, TranscriptionForm, TranslationForm
from internal.api.dialects.openai_stream import stream_events
from internal.api.dialects.receiving import DialectRoute
from internal.api.receiving import received
from internal.api.responses import errors
from services.model_service import ModelService, SpeechModel

router = APIRouter(prefix="/v1", tags=["openai"])
_uploads = APIRouter(route_class=DialectRoute)

# What OpenAI calls its models: whoever asks for one of them means "your speech model".
_THEIR_MODELS = (
    "whisper-1",
    "gpt-transcribe",
    "gpt-4o-transcribe",
    "gpt-4o-mini-transcribe",
    "gpt-4o-mini-transcribe-2025-12-15",
    "gpt-4o-transcribe-diarize",
)
_DIARIZING = "-diarize"


class OpenAIErrorDetail(BaseModel):
    """What went wrong."""

    message: str
    type: str = Field(examples=["invalid_request_error"])
    param: str | None = Field(None, description="Which field it is about.", examples=["model"])
    code: str = Field(examples=["model_not_found"])


class OpenAIErrorBody(BaseModel):
    """The shape of OpenAI's errors."""

    error: OpenAIErrorDetail


class ModelOut(BaseModel):
    """A model that can be asked for."""

    id: str = Field(examples=["whisper-1"])
    object: str = "model"
    created: int = Field(description="When its file was written, in seconds since 1970.")
    owned_by: str = "local"


class ModelListOut(BaseModel):
    """All models that can be asked for."""

    object: str = "list"
    data: list[ModelOut]


_NO_SUCH_MODEL = {"status_404": "There is no such model."}
_FAILURES = errors(400, 404, 409, 413, 415, 429, 500, 503, model=OpenAIErrorBody, **_NO_SUCH_MODEL)
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The transcript in the format asked for, or its events.",
        "content": {
            "application/json": {"schema": {"type": "object"}},
            "text/plain": {"schema": {"type": "string"}},
            "text/event-stream": {},
        },
    },
    **_FAILURES,
}


@_uploads.post("/audio/transcriptions", summary="Transcribe (OpenAI)", responses=_ANSWERS)
async def create_transcription(
    form: Annotated[TranscriptionForm, Form(media_type="multipart/form-data")],
    exchange: ExchangeDep,
    container: ContainerDep,
) -> Response:
    """Transcribe a recording and answer with the transcript.

    `X-Task-Id` names the task behind it. Fields of newer clients that mean nothing here are
    ignored.
    """
    model, diarizes = _resolve(container.models, form)
    options = form.options(model, diarizes=diarizes)
    job = await exchange.accept(await received(form.file), options)
    rendering = form.rendering()
    if form.stream:
        return StreamingResponse(
            stream_events(exchange, job, rendering),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )
    return _answer(render(await exchange.finish(job), rendering))


@_uploads.post("/audio/translations", summary="Translate into English (OpenAI)", responses=_ANSWERS)
async def create_translation(
    form: Annotated[TranslationForm, Form(media_type="multipart/form-data")],
    exchange: ExchangeDep,
    container: ContainerDep,
) -> Response:
    """Transcribe a recording in any language into English text."""
    model, diarizes = _resolve(container.models, form)
    options = form.options(model, diarizes=diarizes)
    finished = await exchange.transcribe(await received(form.file), options)
    return _answer(render(finished, Rendering(form.response_format)))


router.include_router(_uploads)


@router.get("/models", summary="List models (OpenAI)", responses=errors(503, model=OpenAIErrorBody))
async def list_models(container: ContainerDep) -> ModelListOut:
    """Return our models, and those of OpenAI's names that stand for the server's default."""
    return ModelListOut(data=_models(container.models, container.settings.whisper_model))


@router.get(
    "/models/{model}",
    summary="One model (OpenAI)",
    responses=errors(404, 503, model=OpenAIErrorBody, **_NO_SUCH_MODEL),
)
async def get_model(
    model: Annotated[str, Path(max_length=100)], container: ContainerDep
) -> ModelOut:
    """Return one of the models that can be asked for."""
    there_are = _models(container.models, container.settings.whisper_model)
    for one in there_are:
        if one.id == model:
            return one
    raise _no_such_model(model, [one.id for one in there_are])


def _resolve(models: ModelService, form: SpeechForm) -> tuple[str | None, bool]:
    """Return our name of a model, None for the default, and whether it tells speakers apart.

    Raises:
        NotFound: There is no such model (code `model_not_found`).
    """
    if form.model in _THEIR_MODELS:
        return None, form.model.endswith(_DIARIZING)
    ours = [model.name for model in models.installed()]
    if form.model in ours:
        return form.model, False
    raise _no_such_model(form.model, [*ours, *_THEIR_MODELS])


def _models(models: ModelService, default: str) -> list[ModelOut]:
    installed = models.installed()
    theirs = [
        ModelOut(id=name, created=_written(model))
        for model in installed
        if model.name == default
        for name in _THEIR_MODELS
    ]
    return [*(ModelOut(id=model.name, created=_written(model)) for model in installed), *theirs]


def _written(model: SpeechModel) -> int:
    return int(model.path.stat().st_mtime)


def _no_such_model(name: str, there_are: list[str]) -> NotFound:
    return NotFound(
        f"There is no model {name!r} here. There are: {', '.join(there_are)}.",
        code="model_not_found",
        param="model",
    )


def _answer(rendered: str | dict[str, Any]) -> Response:
    if isinstance(rendered, str):
        return PlainTextResponse(rendered)
    return JSONResponse(rendered)
