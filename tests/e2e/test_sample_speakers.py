"""The sample recording with its speakers, through the whole stack."""

import csv
import io
from datetime import datetime

import httpx
import pytest
import webvtt

from tests.accuracy import diarization_error, word_speaker_accuracy
from tests.conftest import SAMPLE, Stack, upload, wait_for_end
from worker.transcript import SpeakerTurn

PEOPLE = ["Laura", "Henry", "Nina"]  # in order of appearance


@pytest.fixture(scope="module")
def finished(stack: Stack):
    """The sample, uploaded once with diarize=true: its task and transcript."""
    with httpx.Client(base_url=stack.url, timeout=60) as api:
        task = upload(api, SAMPLE, diarize="true").json()
        return wait_for_end(api, task["id"], seconds=150)


@pytest.fixture
def transcript(api, finished):
    return result(api, finished)


def result(api, task):
    return api.get(f"/api/v1/tasks/{task['id']}/result").raise_for_status().json()


def text(api, task, output_format):
    address = f"/api/v1/tasks/{task['id']}/result"
    return api.get(address, params={"format": output_format}).raise_for_status().text


def words_of(transcript):
    return [word for segment in transcript["segments"] for word in segment["words"]]


def test_turns_are_the_true_ones(transcript, sample_truth):
    turns = [SpeakerTurn(**turn) for turn in transcript["turns"]]
    error = diarization_error(sample_truth["turns"], turns, seconds=sample_truth["duration"])
    assert error < 0.10
    assert len(transcript["speakers"]) == len(PEOPLE)


def test_words_have_the_right_speaker(transcript, sample_truth):
    assert word_speaker_accuracy(sample_truth["turns"], words_of(transcript)) > 0.95


def test_no_segment_holds_the_words_of_two_speakers(transcript):
    known = {speaker["id"] for speaker in transcript["speakers"]}
    for segment in transcript["segments"]:
        assert {word["speaker"] for word in segment["words"]} == {segment["speaker"]}
        assert segment["speaker"] is None or segment["speaker"] in known


def test_speakers_are_numbered_as_they_appear_and_their_seconds_are_their_turns(transcript):
    speakers = transcript["speakers"]
    assert [speaker["label"] for speaker in speakers] == ["Speaker 1", "Speaker 2", "Speaker 3"]
    first_turns = dict(reversed([(t["speaker"], t["start"]) for t in transcript["turns"]]))
    assert [speaker["id"] for speaker in speakers] == sorted(first_turns, key=first_turns.get)
    for speaker in speakers:
        own = [t["end"] - t["start"] for t in transcript["turns"] if t["speaker"] == speaker["id"]]
        assert speaker["speech_seconds"] == pytest.approx(sum(own), abs=0.1)


def test_two_consumers_worked_on_it_at_the_same_time(api, finished):
    timings = api.get(f"/api/v1/tasks/{finished['id']}/metadata").json()["timings"]
    started, ended = (
        datetime.fromisoformat(finished[name]) for name in ("started_at", "finished_at")
    )
    # One after the other, they would have taken longer than the whole task did.
    one_after_the_other = timings["prepare"] + timings["transcribe"] + timings["diarize"]
    assert one_after_the_other > (ended - started).total_seconds()


def test_names_are_in_every_format(api, finished, transcript):
    ids = [speaker["id"] for speaker in transcript["speakers"]]
    names = dict(zip(ids, PEOPLE, strict=True))
    named = api.patch(f"/api/v1/tasks/{finished['id']}/speakers", json=names)
    assert [speaker["label"] for speaker in named.json()["speakers"]] == PEOPLE
    assert text(api, finished, "txt").startswith("Laura: Good morning everyone.")
    assert "\nLaura: Good morning everyone." in text(api, finished, "srt")
    cues = webvtt.from_string(text(api, finished, "vtt"))
    assert {cue.voice for cue in cues} == set(PEOPLE)
    rows = list(csv.DictReader(io.StringIO(text(api, finished, "tsv")), delimiter="\t"))
    assert {row["speaker"] for row in rows} == set(PEOPLE)
    assert {line.split()[7] for line in text(api, finished, "rttm").splitlines()} == set(PEOPLE)
    assert [speaker["label"] for speaker in result(api, finished)["speakers"]] == PEOPLE
    taken = api.patch(f"/api/v1/tasks/{finished['id']}/speakers", json={ids[0]: None})
    assert [speaker["label"] for speaker in taken.json()["speakers"]] == ["Speaker 1", *PEOPLE[1:]]


def test_speakers_are_looked_for_again_without_transcribing_again(api, finished, transcript):
    address = f"/api/v1/tasks/{finished['id']}"
    loudest = max(transcript["speakers"], key=lambda speaker: speaker["speech_seconds"])
    api.patch(f"{address}/speakers", json={loudest["id"]: "The Chair"}).raise_for_status()
    before = api.get(f"{address}/metadata").json()["timings"]

    asked = api.post(f"{address}/rediarize", json={"num_speakers": 2})
    assert asked.status_code == 202
    assert asked.headers["Location"] == address
    assert result(api, finished)["speakers"], "the old transcript is gone while a new one is made"
    task = wait_for_end(api, finished["id"])
    assert task["status"] == "completed"

    again = result(api, finished)
    assert len(again["speakers"]) == 2
    assert "The Chair" in [speaker["label"] for speaker in again["speakers"]]
    plain = [{**word, "speaker": None} for word in words_of(again)]
    assert plain == [{**word, "speaker": None} for word in words_of(transcript)]
    after = api.get(f"{address}/metadata").json()["timings"]
    assert after["transcribe"] == before["transcribe"]
    assert after["diarize"] != before["diarize"]
    stored = api.get(f"{address}/metadata").json()
    assert stored["speakers"] == 2


def test_the_command_line_prints_a_conversation(stack: Stack):
    ran = stack.command("transcribe", str(SAMPLE), "--diarize", "--min-speakers", "2", "--no-keep")
    lines = ran.stdout.splitlines()
    assert lines[0].startswith("Speaker 1: Good morning everyone.")
    assert {line.partition(":")[0] for line in lines} == {f"Speaker {n}" for n in (1, 2, 3)}
