"""Who says what, for the `openai` package."""

import base64

import pytest

from tests.conftest import ROOT
from tests.dialects.test_openai import transcribe

VOICES = ROOT / "tests" / "data" / "voices"
DIARIZING = "gpt-4o-transcribe-diarize"


def voice(path) -> str:
    return f"data:audio/ogg;base64,{base64.b64encode(path.read_bytes()).decode()}"


def test_speakers_are_letters(client, talk):
    answer = transcribe(client, talk, DIARIZING, response_format="diarized_json")
    assert (answer.task, answer.usage.type) == ("transcribe", "duration")
    assert answer.duration == pytest.approx(22, abs=0.1)
    assert " ".join(segment.text for segment in answer.segments) == answer.text
    assert [segment.id for segment in answer.segments][:2] == ["seg_001", "seg_002"]
    assert {segment.type for segment in answer.segments} == {"transcript.text.segment"}
    said = [(segment.speaker, segment.text) for segment in answer.segments]
    assert said[0] == ("A", "Good morning everyone.")
    assert ("B", "The new database is very quick.") in said
    assert {speaker for speaker, _ in said} == {"A", "B"}


def test_the_format_alone_asks_for_speakers(client, talk):
    answer = transcribe(client, talk, "whisper-1", response_format="diarized_json")
    assert {segment.speaker for segment in answer.segments} == {"A", "B"}


def test_the_model_alone_asks_for_speakers(client, talk):
    assert "Speaker 2: " in transcribe(client, talk, DIARIZING, response_format="srt")


def test_known_speakers_have_their_names(client, talk):
    """Henry is known; the other one, who speaks first, is A."""
    options = {
        "response_format": "diarized_json",
        "known_speaker_names": ["Henry"],
        "known_speaker_references": [voice(VOICES / "henry.opus")],
    }
    answer = transcribe(client, talk, DIARIZING, **options)
    said = {segment.text: segment.speaker for segment in answer.segments}
    assert said["Good morning everyone."] == "A"
    assert said["The new database is very quick."] == "Henry"


def test_streamed_segments_carry_speakers(client, talk):
    with talk.open("rb") as file:
        *events, done = client.audio.transcriptions.create(
            model=DIARIZING, file=file, stream=True, response_format="diarized_json"
        )
    deltas = [event for event in events if event.type == "transcript.text.delta"]
    segments = [event for event in events if event.type == "transcript.text.segment"]
    assert "".join(delta.delta for delta in deltas) == done.text
    assert " ".join(segment.text for segment in segments) == done.text
    assert [delta.segment_id for delta in deltas] == [segment.id for segment in segments]
    assert {segment.speaker for segment in segments} == {"A", "B"}
