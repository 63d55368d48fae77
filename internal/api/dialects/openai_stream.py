"""A transcript as the events that OpenAI's API streams."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Any

from core.errors import AppError
from internal.api.dialects.common import Exchange, Finished
from internal.api.dialects.openai_answers import Rendering, diarized_segments, usage_of
from internal.api.dialects.whisper_json import tokens_of
from internal.api.error_shapes import openai_error
from internal.api.errors import describe_error
from repositories.models import JobModel

# Proxies close what is silent for a minute, some after half of that.
_KEEPALIVE_SECONDS = 15.0
_KEEPALIVE = b": still at it\n\n"


async def stream_events(
    exchange: Exchange, job: JobModel, rendering: Rendering
) -> AsyncGenerator[bytes]:
    """Yield the text as it grows, and all of it at the end: deltas joined are the whole text.

    With speakers, everything comes at the end: only then is it known where they change. A failure
    comes as an event with `error`, the status having been sent long ago.
    """
    sent, said = "", time.monotonic()
    try:
        async with aclosing(exchange.watch(job)) as looks:
            async for news in looks:
                heard = [event.data["text"] for event in news if event.type == "segment"]
                if heard and not job.options.diarize:
                    delta = (" " if sent else "") + " ".join(heard)
                    sent += delta
                    yield _event(_delta(delta))
                elif time.monotonic() - said < _KEEPALIVE_SECONDS:
                    continue
                else:
                    yield _KEEPALIVE
                said = time.monotonic()
        finished = await exchange.finish(job)
    except AppError as error:
        yield _event(openai_error(describe_error(error)))
        return
    for values in _rest(finished, rendering, sent):
        yield _event(values)


def _rest(finished: Finished, rendering: Rendering, sent: str) -> Iterator[dict[str, Any]]:
    """Yield what a transcript has beyond the text that was sent, and its end."""
    transcript = finished.transcript
    text = transcript["text"]
    if finished.job.options.diarize:
        space = ""
        for segment in diarized_segments(transcript):
            yield {**_delta(space + segment["text"]), "segment_id": segment["id"]}
            if rendering.response_format == "diarized_json":
                yield segment
            space = " "
    elif rest := text.removeprefix(sent):
        yield _delta(rest)
    done = {"type": "transcript.text.done", "text": text, "usage": usage_of(transcript)}
    if rendering.logprobs:
        done["logprobs"] = list(tokens_of(transcript))
    yield done


def _delta(text: str) -> dict[str, Any]:
    return {"type": "transcript.text.delta", "delta": text}


def _event(values: dict[str, Any]) -> bytes:
    # In ASCII, since some clients take every line separator of Unicode for the end of a line.
    return f"data: {json.dumps(values, separators=(',', ':'))}\n\n".encode()
