"""Tasks whose recordings are at an address, or were put into the object store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Self

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from core.errors import Conflict, InvalidInput
from internal.api.dependencies import ContainerDep, OwnerDep
from internal.api.forms import JsonOptionsIn
from internal.api.receiving import IdempotencyKey, answer_accepted
from internal.api.responses import errors
from internal.api.schemas import TaskOut
from services.direct_uploads import OpenedUpload

router = APIRouter(prefix="/api/v1", tags=["tasks"])

_ID = "^[0-9a-f]{32}$"
_EXAMPLE_ID = "7d3f0c2be0c34c5fa0a1b4f5b0d1e2f3"


class FromUrlIn(JsonOptionsIn):
    """A recording that the server is to download, and what to do with it."""

    url: Annotated[
        str,
        Field(
            description="Of the recording itself, http or https. It is shown to nobody, and "
            "forgotten once the recording is here.",
            examples=["https://example.org/episode-12.mp3"],
            max_length=4096,
        ),
    ]


class FromUploadIn(JsonOptionsIn):
    """A recording that was put into the store, and what to do with it."""

    upload_id: Annotated[
        str,
        Field(
            description="From `POST /uploads`; the task gets the same id.",
            examples=[_EXAMPLE_ID],
            pattern=_ID,
        ),
    ]


class UploadIn(BaseModel):
    """A recording about to be put into the store."""

    model_config = ConfigDict(extra="forbid")

    file_name: Annotated[
        str, Field(description="As it will be shown.", examples=["interview.mp3"], max_length=1000)
    ]
    size_bytes: Annotated[
        int, Field(description="Exactly, as it will arrive.", examples=[28311552], ge=1)
    ]


class UploadOut(BaseModel):
    """Whereto a recording can be put: the address alone suffices, keep it to yourself."""

    id: str = Field(examples=[_EXAMPLE_ID])
    method: str = Field("PUT", description="Of the request that brings the recording, as its body.")
    url: str
    headers: dict[str, str] = Field({}, description="That this request has to have.")
    expires_at: datetime = Field(description="Then it is too late for it, and for a task.")

    @classmethod
    def of(cls, opened: OpenedUpload, request: Request) -> Self:
        """Return where an upload goes: to the store, or to us where clients cannot reach that."""
        url = opened.url
        if url is None:
            ours = request.url_for("put_content", upload_id=opened.upload.id)
            url = str(ours.include_query_params(token=opened.token))
        return cls(id=opened.upload.id, url=url, expires_at=opened.upload.expires_at)


@router.post(
    "/tasks/from-url",
    status_code=202,
    summary="Have a recording downloaded",
    responses=errors(409, 422, 429, 503),
)
async def create_from_url(
    asked: FromUrlIn,
    request: Request,
    response: Response,
    container: ContainerDep,
    owner: OwnerDep,
    idempotency_key: IdempotencyKey = None,
) -> TaskOut:
    """Accept a recording at an address; its task begins with the stage `fetch`.

    What cannot be downloaded, or is no recording, makes the task fail and is told in its `error`.
    """
    accepted = await container.ingestion.from_url(owner, asked.url, asked.options, idempotency_key)
    return answer_accepted(accepted, request, response)


@router.post(
    "/uploads",
    status_code=201,
    summary="Begin a direct upload",
    responses=errors(413, 422, 429, 503),
)
async def open_upload(
    asked: UploadIn, request: Request, container: ContainerDep, owner: OwnerDep
) -> UploadOut:
    """Return an address to put a recording to, for a while; `POST /tasks/from-upload` comes next.

    Where the object store can be reached by clients, the address is there, and the bytes do not
    pass through this server.
    """
    opened = await container.direct_uploads.open(owner, asked.file_name, asked.size_bytes)
    return UploadOut.of(opened, request)


@router.put(
    "/uploads/{upload_id}/content",
    summary="Put a recording to its address",
    responses=errors(
        403, 409, 413, 422, 503,
        status_403="Nothing can be put here (any more).",
        status_409="Less arrived than was announced.",
        status_413="More arrived than was announced.",
        status_422="There is no token in the address.",
    ),
    response_class=Response,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/octet-stream": {"schema": {"type": "string", "format": "binary"}}
            },
        }
    },
)  # fmt: skip
async def put_content(
    upload_id: str,
    token: Annotated[str, Query(description="From the upload's address.", max_length=100)],
    request: Request,
    container: ContainerDep,
) -> Response:
    """Store the body as the recording of a direct upload; the address itself is the permission."""
    await container.direct_uploads.receive(upload_id, token, _body(request))
    return Response(status_code=200)


@router.post(
    "/tasks/from-upload",
    status_code=202,
    summary="Have a direct upload transcribed",
    responses=errors(
        404, 409, 413, 422, 429, 503,
        status_404="There is no such upload, or its time is over.",
        status_409="Its bytes are not all there, or a task has been made of it.",
    ),
)  # fmt: skip
async def create_from_upload(
    asked: FromUploadIn,
    request: Request,
    response: Response,
    container: ContainerDep,
    owner: OwnerDep,
    idempotency_key: IdempotencyKey = None,
) -> TaskOut:
    """Accept a recording that was put into the store; its task begins with the stage `fetch`."""
    accepted = await container.ingestion.from_upload(
        owner, asked.upload_id, asked.options, idempotency_key
    )
    return answer_accepted(accepted, request, response)


async def _body(request: Request) -> AsyncIterator[bytes]:
    """Yield a body as it arrives, and tell why it ends early in our errors."""
    try:
        async for block in request.stream():
            yield block
    except ClientDisconnect as error:
        message = "The connection ended before the whole recording had arrived."
        raise Conflict(message, code="upload_incomplete") from error
    except HTTPException as error:  # the limit of all bodies
        raise InvalidInput(str(error.detail), code="file_too_large") from error
