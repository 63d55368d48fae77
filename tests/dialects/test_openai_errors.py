"""What the `openai` package raises: the right class, with the right fields, after one request."""

import base64
import json
import socket

import httpx
import openai
import pytest
from openai import OpenAI

from tests.api.support import KEYS, TASKS, bearer, key_id, key_of
from tests.dialects.test_openai import transcribe


def raised(kind, client: OpenAI, path, model="whisper-1", **options):
    with pytest.raises(kind) as caught:
        transcribe(client, path, model, **options)
    error = caught.value
    assert error.body.keys() == {"message", "type", "param", "code"}
    assert error.body["message"].endswith(".")
    return error


def tasks_of(http: httpx.Client) -> list[str]:
    return [task["id"] for task in http.get(TASKS, params={"limit": 200}).json()["tasks"]]


@pytest.mark.parametrize(
    ("options", "param", "code"),
    [
        ({"prompt": "x" * 1001}, "prompt", "invalid_option"),
        ({"prompt": "a\0b"}, "prompt", "invalid_option"),
        ({"temperature": 3}, "temperature", "invalid_option"),
        ({"response_format": "docx"}, "response_format", "invalid_option"),
        ({"timestamp_granularities": ["year"]}, "timestamp_granularities[]", "invalid_option"),
        ({"language": "klingon"}, "language", "unknown_language"),
        ({"language": "de"}, "language", "unsupported_language"),
        ({"known_speaker_names": ["Ada"]}, "known_speaker_names", "invalid_known_speakers"),
        (
            {"known_speaker_names": ["Ada"], "known_speaker_references": ["https://a/b.wav"]},
            "known_speaker_references",
            "invalid_known_speaker_clip",
        ),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_options_that_cannot_be_used(client, speech, options, param, code):
    error = raised(openai.BadRequestError, client, speech, **options)
    assert (error.type, error.param, error.code) == ("invalid_request_error", param, code)


def test_an_unknown_model_lists_what_there_is(client, speech):
    error = raised(openai.NotFoundError, client, speech, "gpt-9")
    assert (error.param, error.code) == ("model", "model_not_found")
    assert "demo-en" in error.body["message"]
    assert "whisper-1" in error.body["message"]


@pytest.mark.parametrize(
    ("damage", "status", "code"),
    [
        (lambda content: b"", 400, "empty_file"),
        (lambda content: b"this is no recording\n" * 100, 415, "unsupported_media"),
        (lambda content: content[: len(content) // 2], 400, "truncated_audio"),
    ],
    ids=["empty", "text", "cut off"],
)
def test_files_that_are_no_recordings(client, http, tmp_path, speech, damage, status, code):
    path = tmp_path / "recording.wav"
    path.write_bytes(damage(speech.read_bytes()))
    before = tasks_of(http)
    error = raised(openai.APIStatusError, client, path)
    assert (error.status_code, error.param, error.code) == (status, "file", code)
    assert tasks_of(http) == before


def test_what_fails_for_good_is_not_sent_again(client, http, cut):
    """The package sends requests again after a 500: here it is told that there is no point."""
    before = tasks_of(http)
    error = raised(openai.InternalServerError, client, cut("doomed", 0, 3), "broken")
    assert (error.type, error.code) == ("server_error", "engine_missing")
    (task_id,) = set(tasks_of(http)) - set(before)
    assert error.response.headers["X-Task-Id"] == task_id
    assert http.get(f"{TASKS}/{task_id}").json()["status"] == "failed"


def test_other_addresses(client, http):
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="whisper-1", messages=[])
    assert caught.value.code == "route_not_found"
    with pytest.raises(openai.APIStatusError) as caught:
        client.get("/audio/transcriptions", cast_to=str)
    assert (caught.value.status_code, caught.value.code) == (405, "method_not_allowed")
    missing = http.post("/v1/audio/transcriptions", data={"model": "whisper-1"})
    assert (missing.status_code, missing.json()["error"]["code"]) == (400, "missing_file")


def test_a_file_that_is_too_large(http):
    """Refused by its declared length, before it is sent."""
    host, port = http.base_url.host, http.base_url.port
    head = (
        f"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: {host}\r\nContent-Length: 600000000\r\n"
        "Content-Type: multipart/form-data; boundary=x\r\n\r\n"
    )
    with socket.create_connection((host, port), timeout=30) as connection:
        connection.sendall(head.encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
    assert answer.startswith("HTTP/1.1 413")
    error = json.loads(answer.rpartition("\r\n\r\n")[2])["error"]
    assert (error["code"], error["param"]) == ("file_too_large", "file")


def test_long_clips_of_voices_are_received(client, talk, tmp_path):
    """Ten seconds of studio sound are more than a field of a form commonly holds."""
    clip = b"RIFF" + b"\0" * 2_000_000
    url = f"data:audio/wav;base64,{base64.b64encode(clip).decode()}"
    error = raised(
        openai.BadRequestError,
        client,
        talk,
        "gpt-4o-transcribe-diarize",
        known_speaker_names=["Ada"],
        known_speaker_references=[url],
    )
    assert error.code == "invalid_known_speaker_clip"


def test_more_than_may_wait(polyglot, client, cut):
    """The API at `polyglot` lets one request of an owner wait."""
    there = client.with_options(base_url=f"{polyglot.base_url}/v1", max_retries=0)
    with cut("waited for", 0, 30).open("rb") as file:
        held = there.audio.transcriptions.with_raw_response.create(
            model="demo-en", file=file, stream=True
        )
    error = raised(openai.RateLimitError, there, cut("refused", 0, 3))
    assert (error.type, error.code) == ("rate_limit_error", "too_many_waiting")
    assert int(error.response.headers["Retry-After"]) > 0
    *_, done = held.parse()
    assert done.text.startswith("Good morning")
    assert transcribe(there, cut("accepted", 0, 3)).text == "Hallo"


def test_keys(client, http, speech):
    """With keys, the package's `api_key` is one of them or nothing."""
    root = key_of(http, "local", "admin")
    try:
        error = raised(openai.AuthenticationError, client, speech)
        assert (error.type, error.code) == ("invalid_request_error", "invalid_api_key")
        reader = key_of(httpx.Client(base_url=http.base_url, headers=bearer(root)), "local", "read")
        known = client.with_options(api_key=reader)
        assert "whisper-1" in [model.id for model in known.models.list()]
        error = raised(openai.PermissionDeniedError, known, speech)
        assert error.code == "insufficient_scope"
        known = client.with_options(api_key=root)
        assert transcribe(known, speech).text.startswith("Good morning")
    finally:
        for token in (reader, root):
            http.delete(f"{KEYS}/{key_id(token)}", headers=bearer(root)).raise_for_status()
