"""whisper-asr-webservice's API, by the requests that Bazarr and other programs send."""

import csv
import io
import wave

import httpx
import pytest
import srt
import webvtt

from tests.dialects.test_openai import TEXT


def samples(path) -> bytes:
    """A recording as Bazarr has ffmpeg make it: bare samples."""
    with wave.open(str(path)) as source:
        return source.readframes(source.getnframes())


def bazarr(client: httpx.Client, path: str, content: bytes, **params: str) -> httpx.Response:
    """What requests.Session.post(files={"audio_file": bytes}) sends."""
    return client.post(
        path,
        params={**params, "encode": "false"},
        files={"audio_file": ("audio_file", content, None)},
        headers={"User-Agent": "Subliminal/2"},
    )


def asr(client: httpx.Client, path, **params) -> httpx.Response:
    files = {"audio_file": (path.name, path.open("rb"), "audio/wav")}
    return client.post("/asr", params=params, files=files)


def test_what_bazarr_asks_for_subtitles(http, speech):
    answer = bazarr(
        http,
        "/asr",
        samples(speech),
        task="transcribe",
        language="en",
        output="srt",
        video_file="/films/One (2001).mkv",
    )
    assert answer.status_code == 200
    cues = list(srt.parse(answer.content.decode()))
    assert " ".join(cue.content for cue in cues).split() == TEXT.split()
    task = http.get(f"/api/v1/tasks/{answer.headers['X-Task-Id']}/metadata").json()
    assert task["duration"] == pytest.approx(6.5, abs=0.1)


def test_what_bazarr_asks_for_a_translation(polyglot, speech):
    answer = bazarr(
        polyglot, "/asr", samples(speech), task="translate", language="de", output="srt"
    )
    assert [cue.content for cue in srt.parse(answer.text)] == ["Hello"]


def test_what_bazarr_asks_for_the_language(polyglot, http, speech):
    found = bazarr(polyglot, "/detect-language", samples(speech))
    assert found.json()["detected_language"] == "german"
    assert found.json()["language_code"] == "de"
    assert 0.99 < found.json()["confidence"] <= 1
    task = http.get(f"/api/v1/tasks/{found.headers['X-Task-Id']}").json()
    assert (task["status"], task["expires_at"] is not None) == ("completed", True)


def test_a_model_of_english_detects_english(http, speech):
    answer = bazarr(http, "/detect-language", samples(speech)).json()
    assert answer == {"detected_language": "english", "language_code": "en", "confidence": 1.0}


def test_the_language_is_that_of_the_first_speech(polyglot, http, tmp_path, speech):
    """A minute of silence, and then somebody speaks: they are in the clip that is listened to."""
    content = b"\0\0" * 60 * 16000 + samples(speech)
    found = bazarr(polyglot, "/detect-language", content)
    assert found.json()["language_code"] == "de"
    task = http.get(f"/api/v1/tasks/{found.headers['X-Task-Id']}/metadata").json()
    assert task["duration"] == pytest.approx(6.5 - 0.5, abs=0.2)


def test_text(http, speech):
    answer = asr(http, speech)
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="speech.wav.txt"'
    assert answer.headers["Asr-Engine"] == "whisper.cpp"
    assert answer.text.split() == TEXT.split()
    assert len(answer.text.splitlines()) == 3


def test_vtt(http, speech):
    cues = webvtt.from_string(asr(http, speech, output="vtt").text)
    assert " ".join(cue.text for cue in cues).split() == TEXT.split()


def test_tsv(http, speech):
    answer = asr(http, speech, output="tsv")
    assert answer.headers["Content-Disposition"].endswith('"speech.wav.tsv"')
    header, *rows = csv.reader(io.StringIO(answer.text), delimiter="\t")
    assert header == ["start", "end", "text"]
    assert " ".join(row[2] for row in rows) == TEXT
    assert all(int(start) < int(end) for start, end, _ in rows)


def test_json(http, speech):
    answer = asr(http, speech, output="json").json()
    assert answer.keys() == {"language", "segments", "text"}
    assert (answer["language"], answer["text"]) == ("en", TEXT)
    assert answer["segments"][0].keys() == {
        *("id", "seek", "start", "end", "text", "tokens", "temperature"),
        *("avg_logprob", "compression_ratio", "no_speech_prob"),
    }
    assert "".join(segment["text"] for segment in answer["segments"]).strip() == TEXT


def test_json_with_words(http, speech):
    answer = asr(http, speech, output="json", word_timestamps="true").json()
    words = [word for segment in answer["segments"] for word in segment["words"]]
    assert "".join(word["word"] for word in words).strip() == TEXT
    assert words[0].keys() == {"word", "start", "end", "probability"}


def test_speakers(http, talk):
    hints = {"diarize": "true", "min_speakers": 1, "max_speakers": 4}
    answer = asr(http, talk, output="json", **hints).json()
    assert {segment["speaker"] for segment in answer["segments"]} == {"Speaker 1", "Speaker 2"}
    header, *_ = asr(http, talk, output="tsv", **hints).text.splitlines()
    assert header == "start\tend\ttext"


def test_an_unknown_output_is_text(http, speech):
    answer = asr(http, speech, output="docx", model="large", hotwords="x", enable_diarization=1)
    assert answer.text == asr(http, speech).text
    assert answer.headers["Content-Disposition"].endswith('"speech.wav.txt"')


def test_options_that_have_no_effect(http, speech):
    answer = asr(http, speech, vad_filter="true", max_speakers=4, language="English")
    assert answer.text == asr(http, speech).text


@pytest.mark.parametrize("name", ['a".wav', "a\r\nX-Evil: 1.wav", "Über.wav"])
def test_file_names_stay_in_their_header(http, speech, name):
    files = {"audio_file": (name, speech.read_bytes())}
    answer = http.post("/asr", files=files).raise_for_status()
    disposition = answer.headers["Content-Disposition"]
    assert disposition.startswith('attachment; filename="')
    assert disposition.endswith('.wav.txt"')
    assert disposition.count('"') == 2
    assert disposition.isascii()
    assert "X-Evil" not in answer.headers


@pytest.mark.parametrize(
    ("params", "content", "status", "said"),
    [
        ({}, b"no recording " * 99, 415, "not a recording"),
        ({"encode": "false"}, b"", 422, "empty"),
        ({"language": "klingon"}, None, 422, "klingon"),
        ({"language": "fr"}, None, 422, "English only"),
        ({"task": "sing"}, None, 422, "task"),
        ({"initial_prompt": "x" * 1001}, None, 422, "initial_prompt"),
        ({"min_speakers": "3", "max_speakers": "2", "diarize": "1"}, None, 422, "min_speakers"),
    ],
)
def test_refusals(http, speech, params, content, status, said):
    body = speech.read_bytes() if content is None else content
    answer = http.post("/asr", params=params, files={"audio_file": ("a.wav", body)})
    assert answer.status_code == status
    assert answer.json().keys() == {"detail"}
    assert said in answer.json()["detail"]


def test_a_request_without_a_file(http):
    for path in ("/asr", "/detect-language"):
        answer = http.post(path, files={"file": ("a.wav", b"x")})
        assert answer.status_code == 422
        assert "audio_file" in answer.json()["detail"]


def test_detection_refuses_what_is_no_recording(http):
    answer = http.post("/detect-language", files={"audio_file": ("a.wav", b"no recording " * 99)})
    assert (answer.status_code, answer.json().keys()) == (415, {"detail"})
