"""The `openai` package against our server, for each format that it knows."""

import math

import httpx
import openai
import pytest
import srt
import webvtt
from openai import AsyncOpenAI, OpenAI

from tests.conftest import Stack

# OpenAI means to withdraw translations; for as long as clients ask for them, there are some here.
pytestmark = pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")

TEXT = "Good morning everyone. Thanks for joining. Please open the agenda and check the schedule."
THEIRS = ["whisper-1", "gpt-4o-transcribe", "gpt-4o-mini-transcribe", "gpt-4o-transcribe-diarize"]


def transcribe(client: OpenAI, path, model="whisper-1", **options):
    with path.open("rb") as file:
        return client.audio.transcriptions.create(model=model, file=file, **options)


def test_json_is_the_text_and_what_it_cost(client, speech):
    answer = transcribe(client, speech)
    assert answer.text == TEXT
    assert (answer.usage.type, answer.usage.seconds) == ("duration", pytest.approx(6.5, abs=0.1))


def test_the_answer_names_a_task_that_stays(client, http, speech):
    with speech.open("rb") as file:
        raw = client.audio.transcriptions.with_raw_response.create(model="whisper-1", file=file)
    task = http.get(f"/api/v1/tasks/{raw.headers['X-Task-Id']}").json()
    assert (task["status"], task["file_name"]) == ("completed", "speech.wav")
    result = http.get(f"/api/v1/tasks/{raw.headers['X-Task-Id']}/result").json()
    assert result["text"] == raw.parse().text == TEXT


def test_text(client, speech):
    assert transcribe(client, speech, response_format="text") == f"{TEXT}\n"


def test_srt(client, speech):
    cues = list(srt.parse(transcribe(client, speech, response_format="srt")))
    assert " ".join(cue.content for cue in cues).split() == TEXT.split()
    assert 0 < cues[0].start.total_seconds() < 1


def test_vtt(client, speech):
    cues = webvtt.from_string(transcribe(client, speech, response_format="vtt"))
    assert " ".join(cue.text for cue in cues).split() == TEXT.split()


def test_verbose_json_has_segments(client, speech):
    answer = transcribe(client, speech, response_format="verbose_json", temperature=0.2)
    assert (answer.text, answer.language, answer.words) == (TEXT, "english", None)
    assert answer.duration == pytest.approx(6.5, abs=0.1)
    assert "".join(segment.text for segment in answer.segments).strip() == TEXT
    ends = [edge for segment in answer.segments for edge in (segment.start, segment.end)]
    assert ends == sorted(ends)
    for number, segment in enumerate(answer.segments):
        assert segment.id == number
        assert segment.seek == round(segment.start * 100)
        assert segment.temperature == 0.2
        assert -1 < segment.avg_logprob <= 0
        assert 0 < segment.compression_ratio < 2.4
        assert (segment.tokens, segment.no_speech_prob) == ([], 0.0)


def test_avg_logprob_is_of_our_confidence(client, http, speech):
    with speech.open("rb") as file:
        raw = client.audio.transcriptions.with_raw_response.create(
            model="whisper-1", file=file, response_format="verbose_json"
        )
    ours = http.get(f"/api/v1/tasks/{raw.headers['X-Task-Id']}/result").json()["segments"]
    for segment, our in zip(raw.parse().segments, ours, strict=True):
        assert math.exp(segment.avg_logprob) == pytest.approx(our["confidence"], abs=1e-3)


@pytest.mark.parametrize(
    ("granularities", "segments"), [(["word"], False), (["word", "segment"], True)]
)
def test_verbose_json_has_words_when_asked(client, speech, granularities, segments):
    answer = transcribe(
        client, speech, response_format="verbose_json", timestamp_granularities=granularities
    )
    assert [word.word for word in answer.words] == TEXT.split()
    starts = [word.start for word in answer.words]
    assert starts == sorted(starts)
    assert (answer.segments is not None) == segments


@pytest.mark.parametrize("name", ["timestamp_granularities", "timestamp_granularities[]"])
def test_arrays_come_with_brackets_or_without(http, speech, name):
    answer = http.post(
        "/v1/audio/transcriptions",
        files={"file": speech.open("rb")},
        data={"model": "whisper-1", "response_format": "verbose_json", name: ["word"]},
    ).raise_for_status()
    assert len(answer.json()["words"]) == len(TEXT.split())


def test_logprobs_of_each_word(client, speech):
    answer = transcribe(client, speech, "gpt-4o-transcribe", include=["logprobs"])
    assert "".join(token.token for token in answer.logprobs) == answer.text == TEXT
    assert all(token.logprob <= 0 for token in answer.logprobs)
    assert bytes(map(int, answer.logprobs[0].bytes)).decode() == "Good"
    assert transcribe(client, speech, "gpt-4o-transcribe").logprobs is None


@pytest.mark.parametrize("model", ["demo-en", *THEIRS[:3]])
def test_every_name_of_a_model(client, speech, model):
    assert transcribe(client, speech, model).text == TEXT


def test_options_reach_the_task(client, http, speech):
    with speech.open("rb") as file:
        raw = client.audio.transcriptions.with_raw_response.create(
            model="whisper-1",
            file=file,
            language="en",
            prompt="Laura, Henry",
            temperature=0.1,
            chunking_strategy={"type": "server_vad", "threshold": 0.5},
            extra_body={"something_newer": "ignored"},
        )
    assert "open the agenda" in raw.parse().text
    task = http.get(f"/api/v1/tasks/{raw.headers['X-Task-Id']}/metadata").json()
    asked = {name: task["options"][name] for name in ("language", "prompt", "temperature", "task")}
    assert asked == {
        "language": "en",
        "prompt": "Laura, Henry",
        "temperature": 0.1,
        "task": "transcribe",
    }


def test_silence_is_an_empty_text(client, silence):
    assert transcribe(client, silence).text == ""
    assert transcribe(client, silence, response_format="text").strip() == ""
    assert transcribe(client, silence, response_format="srt").strip() == ""
    verbose = transcribe(client, silence, response_format="verbose_json")
    assert (verbose.text, verbose.segments) == ("", [])
    events = list(transcribe(client, silence, stream=True))
    assert [(event.type, event.text) for event in events] == [("transcript.text.done", "")]


async def test_the_asynchronous_client(backend: Stack, speech):
    async with AsyncOpenAI(base_url=f"{backend.url}/v1", api_key="any") as client:
        answer = await client.audio.transcriptions.create(
            model="whisper-1", file=speech, response_format="verbose_json"
        )
        assert answer.text == TEXT
        stream = await client.audio.transcriptions.create(
            model="whisper-1", file=speech, stream=True
        )
        events = [event async for event in stream]
        assert events[-1].text == TEXT


def test_one_task_for_one_idempotency_key(client, cut):
    path = cut("once", 0, 4)
    headers = {"Idempotency-Key": "the same"}
    ids = set()
    for _ in range(2):
        with path.open("rb") as file:
            raw = client.audio.transcriptions.with_raw_response.create(
                model="whisper-1", file=file, extra_headers=headers
            )
        ids.add(raw.headers["X-Task-Id"])
        assert raw.parse().text.startswith("Good morning")
    assert len(ids) == 1


def test_patience_that_ends_costs_no_second_task(client, http, cut):
    """The package gives up after its time-out, and asks again: with a key, for the same task."""
    path = cut("patience", 0, 50)
    impatient = client.with_options(timeout=1, max_retries=40)
    answer = transcribe(impatient, path, extra_headers={"Idempotency-Key": "patience"})
    assert answer.text.startswith("Good morning")
    tasks = http.get("/api/v1/tasks").json()["tasks"]
    assert [task["file_name"] for task in tasks].count("patience.wav") == 1


def test_models(client):
    models = {model.id: model for model in client.models.list()}
    assert {"demo-en", "german", *THEIRS} <= set(models)
    assert all(model.object == "model" and model.created > 0 for model in models.values())
    assert client.models.retrieve("whisper-1") == models["whisper-1"]
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("gpt-9")
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


def test_translations(client, speech):
    with speech.open("rb") as file:
        answer = client.audio.translations.create(model="german", file=file)
    assert answer.text == "Hello"
    assert transcribe(client, speech, "german").text == "Hallo"
    with speech.open("rb") as file:
        answer = client.audio.translations.create(
            model="german", file=file, response_format="verbose_json"
        )
    assert (answer.language, answer.text) == ("english", "Hello")
    assert "".join(segment.text for segment in answer.segments).strip() == "Hello"
    verbose = transcribe(client, speech, "german", response_format="verbose_json")
    assert (verbose.language, verbose.text) == ("german", "Hallo")


def test_english_is_its_own_translation(client, speech):
    with speech.open("rb") as file:
        srt_text = client.audio.translations.create(
            model="whisper-1", file=file, response_format="srt"
        )
    assert " ".join(cue.content for cue in srt.parse(srt_text)).split() == TEXT.split()


def test_a_language_may_be_named_in_full(client, speech):
    assert transcribe(client, speech, "german", language="German").text == "Hallo"
    with pytest.raises(openai.BadRequestError) as caught:
        transcribe(client, speech, "german", language="klingon")
    assert (caught.value.param, caught.value.code) == ("language", "unknown_language")


def test_a_request_without_a_model(http: httpx.Client, speech):
    """curl, as OpenAI's documentation has it: no model is given to see what is assumed."""
    answer = http.post("/v1/audio/transcriptions", files={"file": speech.open("rb")})
    assert answer.json()["text"] == TEXT
