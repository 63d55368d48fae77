"""Transcripts streamed to the `openai` package."""

import httpx
import openai
import pytest

from tests.api.support import TASKS


def streamed(client, path, model="gpt-4o-transcribe", **options):
    with path.open("rb") as file:
        stream = client.audio.transcriptions.create(model=model, file=file, stream=True, **options)
        return list(stream)


def test_deltas_come_while_it_works_and_are_the_text(client, http, cut):
    """The recording has several chunks: their texts come one after the other."""
    with cut("long", 0, 65).open("rb") as file:
        raw = client.audio.transcriptions.with_raw_response.create(
            model="gpt-4o-transcribe", file=file, stream=True
        )
    task = f"{TASKS}/{raw.headers['X-Task-Id']}"
    *deltas, done = raw.parse()
    assert len(deltas) > 1
    assert (done.type, {delta.type for delta in deltas}) == (
        "transcript.text.done",
        {"transcript.text.delta"},
    )
    assert "".join(delta.delta for delta in deltas) == done.text
    assert done.text == http.get(f"{task}/result").json()["text"]
    assert done.text.startswith("Good morning everyone. Thanks for joining.")
    assert done.usage.seconds == pytest.approx(65, abs=0.1)


def test_what_is_there_already_is_streamed_all_the_same(client, speech):
    streamed(client, speech)
    *deltas, done = streamed(client, speech, include=["logprobs"])
    assert "".join(delta.delta for delta in deltas) == done.text != ""
    assert "".join(token.token for token in done.logprobs) == done.text


def test_formats_without_events_are_refused(client, speech):
    with pytest.raises(openai.BadRequestError) as caught:
        streamed(client, speech, response_format="srt")
    assert caught.value.param == "stream"


def test_a_failure_ends_the_stream(client, speech):
    with pytest.raises(openai.APIError) as caught:
        streamed(client, speech, "broken")
    assert caught.value.code == "engine_missing"
    assert "speech model" in caught.value.message


def test_cancelling_the_task_ends_the_stream(client, http: httpx.Client, cut):
    with cut("cancelled", 0, 100).open("rb") as file:
        raw = client.audio.transcriptions.with_raw_response.create(
            model="gpt-4o-transcribe", file=file, stream=True
        )
    http.post(f"{TASKS}/{raw.headers['X-Task-Id']}/cancel").raise_for_status()
    with pytest.raises(openai.APIError) as caught:
        list(raw.parse())
    assert caught.value.code == "task_cancelled"
