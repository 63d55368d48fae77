"""Tasks: upload, follow, fetch, list, delete."""

from __future__ import annotations

import asyncio
from typing import Annotated, Literal
from urllib.parse import quote

from fastapi import APIRouter, Body, Form, Query, Request, Response

from internal.api.dependencies import (
    OwnerDep,
    SpeakersDep,
    TasksDep,
    UploadsDep,
)
from internal.api.filters import ListQuery
from internal.api.forms import RediarizeIn, SpeakerNames, UploadForm
from internal.api.receiving import (
    AdmittedRoute,
    IdempotencyKey,
    answer_accepted,
    answer_task,
    received,
)
from internal.api.responses import errors
from internal.api.schemas import (
    MetadataOut,
    SpeakersOut,
    TaskListOut,
    TaskOut,
    TaskStatusOut,
    TranscriptOut,
)
from worker.formats import FORMATS

router = APIRouter(prefix="/api/v1/tasks", tags=["tasks"])

FormatName = Literal["json", "txt", "srt", "vtt", "tsv", "rttm"]


_uploads = APIRouter(route_class=AdmittedRoute)


@_uploads.post(
    "/upload",
    status_code=202,
    summary="Upload a recording",
    responses=errors(409, 413, 415, 422, 429, 503),
)
async def upload(
    form: Annotated[UploadForm, Form(media_type="multipart/form-data")],
    request: Request,
    response: Response,
    uploads: UploadsDep,
    owner: OwnerDep,
    idempotency_key: IdempotencyKey = None,
) -> TaskOut:
    """Accept a recording for transcription.

    The answer comes when the recording is stored and its task written down; `Location` says where
    to ask how far it is. A recording that cannot be used is refused here and leaves nothing behind.
    """
    accepted = await uploads.create_task(
        owner, await received(form.file), form.options, idempotency_key
    )
    return answer_accepted(accepted, request, response)


router.include_router(_uploads)


@router.get("", summary="List tasks", responses=errors(422, 503))
async def list_tasks(
    tasks: TasksDep,
    owner: OwnerDep,
    asked: Annotated[ListQuery, Query()],
) -> TaskListOut:
    """Return tasks, newest first unless asked otherwise.

    A cursor is a place among all tasks: with other filters it is the same place.
    """
    page = await tasks.list_tasks(
        owner,
        asked.which,
        limit=asked.limit,
        cursor=asked.cursor,
        oldest_first=asked.order == "asc",
    )
    return TaskListOut(tasks=[TaskOut.of(job) for job in page.items], next_cursor=page.next_cursor)


@router.get("/{task_id}", summary="How far is a task?", responses=errors(404, 503))
async def get_task(task_id: str, tasks: TasksDep, owner: OwnerDep) -> TaskStatusOut:
    """Return status, stage, percent, expected time left and place in the queue."""
    return TaskStatusOut.of_status(await tasks.get_task_status(owner, task_id))


@router.get(
    "/{task_id}/result",
    summary="Fetch the transcript",
    response_model=TranscriptOut,
    responses={
        200: {
            "description": "The transcript in the format asked for.",
            "content": {
                entry.media_type.partition(";")[0]: {"schema": {"type": "string"}}
                for name, entry in FORMATS.items()
                if name != "json"
            },
        },
        **errors(404, 409, 422, 503),
    },
)
async def get_result(
    task_id: str,
    tasks: TasksDep,
    owner: OwnerDep,
    output_format: Annotated[FormatName, Query(alias="format")] = "json",
    download: Annotated[
        bool, Query(description="As a file to save, named like the upload.")
    ] = False,
) -> Response:
    """Return a completed task's transcript as json, txt, srt, vtt, tsv or rttm."""
    job, transcript = await tasks.get_task_result(owner, task_id)
    entry = FORMATS[output_format]
    text = await asyncio.to_thread(entry.render, transcript)
    response = Response(text, media_type=entry.media_type)
    if download:
        stem = job.source.file_name.rpartition(".")[0] or job.source.file_name
        response.headers["Content-Disposition"] = _attachment(f"{stem}.{output_format}")
    return response


@router.get("/{task_id}/metadata", summary="Facts of a recording", responses=errors(404, 503))
async def get_metadata(task_id: str, tasks: TasksDep, owner: OwnerDep) -> MetadataOut:
    """Return what is known of the recording, the options, and what each stage took."""
    status = await tasks.get_task_status(owner, task_id)
    return MetadataOut.of(status.job)


@router.patch(
    "/{task_id}/speakers", summary="Name the speakers", responses=errors(404, 409, 422, 503)
)
async def name_speakers(
    task_id: str,
    names: Annotated[
        SpeakerNames, Body(examples=[{"SPEAKER_00": "Laura"}], min_length=1, max_length=1000)
    ],
    speakers: SpeakersDep,
    owner: OwnerDep,
) -> SpeakersOut:
    """Give speakers names, which every export then shows; `null` takes a name away."""
    return SpeakersOut.of(await speakers.name_speakers(owner, task_id, names))


@router.post(
    "/{task_id}/rediarize",
    status_code=202,
    summary="Look for the speakers again",
    responses=errors(404, 409, 422, 503),
)
async def rediarize(
    task_id: str,
    response: Response,
    request: Request,
    speakers: SpeakersDep,
    owner: OwnerDep,
    asked: RediarizeIn | None = None,
) -> TaskOut:
    """Find out who says what once more, with other hints, without transcribing again.

    The transcript that there is can be fetched until the new one replaces it. Names that were given
    stay with the voices that they were given to.
    """
    job = await speakers.rediarize(owner, task_id, (asked or RediarizeIn()).speakers)
    return answer_task(job, request, response)


@router.post("/{task_id}/cancel", summary="Stop working on a task", responses=errors(404, 409, 503))
async def cancel_task(task_id: str, tasks: TasksDep, owner: OwnerDep) -> TaskOut:
    """Cancel a task that has not ended; what runs for it ends within five seconds.

    What is done is kept: `retry` continues from there.
    """
    return TaskOut.of(await tasks.cancel_task(owner, task_id))


@router.post(
    "/{task_id}/retry",
    status_code=202,
    summary="Work on a task again",
    responses=errors(404, 409, 503),
)
async def retry_task(
    task_id: str, response: Response, request: Request, tasks: TasksDep, owner: OwnerDep
) -> TaskOut:
    """Try a task again that failed, was cancelled, or has gaps, without redoing what is done."""
    return answer_task(await tasks.retry_task(owner, task_id), request, response)


@router.delete("/{task_id}", status_code=204, summary="Delete a task", responses=errors(404, 503))
async def delete_task(task_id: str, tasks: TasksDep, owner: OwnerDep) -> None:
    """Remove a task with its recording and transcript, whether it is finished or not."""
    await tasks.delete_task(owner, task_id)


def _attachment(file_name: str) -> str:
    """Return a Content-Disposition with any file name (RFC 6266)."""
    plain = "".join(c if (c.isascii() and c.isalnum()) or c in " ._-" else "_" for c in file_name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(file_name, safe='')}"
