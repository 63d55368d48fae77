"""The API of whisper.cpp's server, by the requests of its README."""

import shutil
import subprocess

import pytest
import srt
import webvtt

from tests.conftest import Stack
from tests.dialects.test_openai import TEXT


def inference(client, path, **fields):
    files = {"file": (path.name, path.open("rb"))}
    return client.post("/inference", files=files, data=fields)


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_the_example_of_the_readme(backend: Stack, speech):
    ran = subprocess.run(
        [
            *("curl", "-sS", f"{backend.url}/inference"),
            *("-H", "Content-Type: multipart/form-data"),
            *("-F", f"file=@{speech}"),
            *("-F", "temperature=0.0", "-F", "temperature_inc=0.2"),
            *("-F", "response_format=json"),
        ],
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert ran.stdout.decode().startswith('{"text":" Good morning everyone.\\n')


def test_json_is_what_there_is_by_default(http, speech):
    answer = inference(http, speech)
    assert answer.json().keys() == {"text"}
    assert answer.json()["text"].split() == TEXT.split()
    assert http.get(f"/api/v1/tasks/{answer.headers['X-Task-Id']}").json()["status"] == "completed"
    assert inference(http, speech, response_format="pdf").json() == answer.json()


def test_text(http, speech):
    assert inference(http, speech, response_format="text").text.split() == TEXT.split()


def test_subtitles(http, speech):
    answer = inference(http, speech, response_format="srt")
    assert " ".join(cue.content for cue in srt.parse(answer.text)).split() == TEXT.split()
    answer = inference(http, speech, response_format="vtt")
    assert answer.headers["Content-Type"].startswith("text/vtt")
    cues = webvtt.from_string(answer.text)
    assert " ".join(cue.text for cue in cues).split() == TEXT.split()


def test_verbose_json(http, speech):
    answer = inference(http, speech, response_format="verbose_json").json()
    assert (answer["task"], answer["language"]) == ("transcribe", "english")
    assert answer["duration"] == pytest.approx(6.5, abs=0.1)
    assert answer["text"].split() == TEXT.split()
    words = [word for segment in answer["segments"] for word in segment["words"]]
    assert "".join(word["word"] for word in words).strip() == TEXT
    assert all(0 <= word["start"] <= word["end"] <= 6.5 for word in words)
    assert all(0 < word["probability"] <= 1 for word in words)
    assert "detected_language" not in answer


def test_the_language_is_found_out(polyglot, speech):
    for fields in ({}, {"language": "auto"}, {"language": "en", "detect_language": "true"}):
        answer = inference(polyglot, speech, response_format="verbose_json", **fields).json()
        assert (answer["language"], answer["detected_language"]) == ("german", "german")
        assert 0.99 < answer["detected_language_probability"] <= 1
        assert answer["text"] == " Hallo\n"


def test_translation(polyglot, speech):
    for fields in ({"translate": "true"}, {"translate": "true", "language": "german"}):
        assert inference(polyglot, speech, **fields).json() == {"text": " Hello\n"}


def test_a_model_of_english_ignores_language_and_translation(http, speech):
    answer = inference(http, speech, language="de", translate="true", max_len="60", split_on_word=1)
    assert answer.json()["text"].split() == TEXT.split()


def test_refusals(http, speech):
    missing = http.post("/inference", data={"temperature": "0.0"}, files={"other": b"x"})
    assert (missing.status_code, missing.json().keys()) == (400, {"error"})
    assert "file" in missing.json()["error"]
    text = http.post("/inference", files={"file": ("a.wav", b"no recording " * 99)})
    assert (text.status_code, text.json().keys()) == (415, {"error"})
    wrong = inference(http, speech, temperature="7")
    assert (wrong.status_code, wrong.json().keys()) == (400, {"error"})
    unknown = inference(http, speech, temperature="0", prompt="x" * 1001)
    assert "prompt" in unknown.json()["error"]


def test_an_unknown_language_is_refused(polyglot, speech):
    answer = inference(polyglot, speech, language="klingon")
    assert (answer.status_code, "klingon" in answer.json()["error"]) == (400, True)


def test_health(http):
    assert http.get("/health").json() == {"status": "ok"}
