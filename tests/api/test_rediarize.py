"""Speakers over REST, on a real stack: it holds with and without a diarization pipeline."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from tests.conftest import Stack, upload, wait_for_end

TASKS = "/api/v1/tasks"


@pytest.fixture(scope="module")
def plain(stack: Stack, short_wav: Path) -> str:
    """A finished task of which nobody wanted to know the speakers."""
    with httpx.Client(base_url=stack.url, timeout=60) as api:
        task_id = upload(api, short_wav).json()["id"]
        assert wait_for_end(api, task_id)["status"] == "completed"
    return task_id


def transcript(api: httpx.Client, task_id: str) -> dict:
    response = api.get(f"{TASKS}/{task_id}/result")
    assert response.status_code == 200, response.text
    return response.json()


def words_of(values: dict) -> list[tuple]:
    return [
        (word["word"], word["start"], word["end"], word["confidence"])
        for segment in values["segments"]
        for word in segment["words"]
    ]


def assert_speakers_or_a_reason(task: dict, values: dict, reason: str) -> None:
    """Either there are speakers, on words too, or the task says why there are none."""
    ids = {speaker["id"] for speaker in values["speakers"]}
    spoken = {word["speaker"] for segment in values["segments"] for word in segment["words"]}
    assert spoken - {None} <= ids
    assert {turn["speaker"] for turn in values["turns"]} == ids
    told = [warning for warning in task["warnings"] if warning.startswith(reason)]
    assert bool(ids) != bool(told), (values["speakers"], task["warnings"])
    assert ("diarization" in values["models"]) == bool(ids)


def test_a_task_asked_for_with_speakers_completes(
    api: httpx.Client, short_wav: Path, plain: str
) -> None:
    task_id = upload(api, short_wav, diarize="true", max_speakers="3").json()["id"]
    task = wait_for_end(api, task_id)
    assert (task["status"], task["stage"], task["error"]) == ("completed", "done", None)
    assert task["progress"]["diarization_percent"] == 100
    values = transcript(api, task_id)
    assert_speakers_or_a_reason(task, values, "There are no speaker labels: ")
    assert words_of(values) == words_of(transcript(api, plain))
    facts = api.get(f"{TASKS}/{task_id}/metadata").json()
    assert facts["speakers"] == len(values["speakers"])
    asked = {"diarize": True, "num_speakers": None, "min_speakers": None, "max_speakers": 3}
    assert facts["options"].items() >= asked.items()


def test_nobody_asked(api: httpx.Client, plain: str) -> None:
    task, values = api.get(f"{TASKS}/{plain}").json(), transcript(api, plain)
    assert task["progress"]["diarization_percent"] is None
    assert (values["speakers"], values["turns"]) == ([], [])
    assert values["models"] == {"transcription": "demo-en"}
    assert {segment["speaker"] for segment in values["segments"]} == {None}
    assert api.get(f"{TASKS}/{plain}/metadata").json()["speakers"] == 0


def test_rttm_of_nobody_is_empty(api: httpx.Client, plain: str) -> None:
    response = api.get(f"{TASKS}/{plain}/result", params={"format": "rttm", "download": "true"})
    assert (response.status_code, response.text) == (200, "")
    assert response.headers["Content-Type"].startswith("text/plain")
    assert 'filename="short.rttm"' in response.headers["Content-Disposition"]


@pytest.mark.parametrize("body", [None, b"null", b"{}", b'{"num_speakers": 2}'])
def test_asked_for_afterwards_the_words_stay(
    api: httpx.Client, short_wav: Path, body: bytes | None
) -> None:
    task_id = upload(api, short_wav).json()["id"]
    wait_for_end(api, task_id)
    before = transcript(api, task_id)
    headers = {"Content-Type": "application/json"} if body else {}

    asked = api.post(f"{TASKS}/{task_id}/rediarize", content=body, headers=headers)

    assert asked.status_code == 202, asked.text
    assert asked.headers["Location"] == f"{TASKS}/{task_id}"
    started = asked.json()
    assert started["id"] == task_id
    assert words_of(transcript(api, task_id)) == words_of(before)
    task = wait_for_end(api, task_id)
    assert (task["status"], task["stage"], task["error"]) == ("completed", "done", None)
    assert task["finished_at"] >= task["started_at"]
    assert task["progress"]["percent"] == 100
    after = transcript(api, task_id)
    assert words_of(after) == words_of(before)
    assert after["text"].split() == before["text"].split()
    assert_speakers_or_a_reason(task, after, "The speakers could not be found again: ")
    unknown = api.patch(f"{TASKS}/{task_id}/speakers", json={"SPEAKER_49": "Ann"})
    assert (unknown.status_code, unknown.json()["code"]) == (422, "unknown_speaker")


def test_it_can_be_asked_for_again_and_again(
    api: httpx.Client, stack: Stack, short_wav: Path
) -> None:
    task_id = upload(api, short_wav, diarize="true").json()["id"]
    wait_for_end(api, task_id)
    before = words_of(transcript(api, task_id))
    for _ in range(2):
        assert api.post(f"{TASKS}/{task_id}/rediarize").status_code == 202
        assert wait_for_end(api, task_id)["status"] == "completed"
        assert words_of(transcript(api, task_id)) == before
    folder = stack.data_dir / "objects" / "jobs" / task_id
    if folder.exists():  # objects are not in MinIO
        names = sorted(path.name for path in folder.iterdir())
        assert [name.partition("-")[0] for name in names] == ["source", "transcript"]


@pytest.mark.parametrize("diarize", ["true", "false"])
def test_speakers_of_an_unfinished_task(api: httpx.Client, short_wav: Path, diarize: str) -> None:
    task_id = upload(api, short_wav, diarize=diarize).json()["id"]
    for response in (
        api.patch(f"{TASKS}/{task_id}/speakers", json={"SPEAKER_00": "Ann"}),
        api.post(f"{TASKS}/{task_id}/rediarize"),
    ):
        assert response.status_code == 409, response.text
        assert response.json()["code"] == "not_finished"
        assert response.json()["details"]["status"] in ("pending", "processing")
    assert wait_for_end(api, task_id)["status"] == "completed"


def test_a_task_deleted_while_its_speakers_are_looked_for_leaves_nothing(
    api: httpx.Client, stack: Stack, short_wav: Path
) -> None:
    task_id = upload(api, short_wav).json()["id"]
    wait_for_end(api, task_id)
    api.post(f"{TASKS}/{task_id}/rediarize").raise_for_status()
    assert api.delete(f"{TASKS}/{task_id}").status_code == 204
    assert api.get(f"{TASKS}/{task_id}").status_code == 404
    # A task behind it in the same queue ends only after the diarizer is through with this one.
    wait_for_end(api, upload(api, short_wav, diarize="true").json()["id"])
    assert not (stack.data_dir / "objects" / "jobs" / task_id).exists()


def test_openapi_describes_speakers(api: httpx.Client) -> None:
    description = json.loads(api.get("/openapi.json").text)
    paths, schemas = description["paths"], description["components"]["schemas"]
    name = paths["/api/v1/tasks/{task_id}/speakers"]["patch"]
    again = paths["/api/v1/tasks/{task_id}/rediarize"]["post"]
    assert {"200", "404", "409", "422", "503"} <= set(name["responses"])
    assert {"202", "404", "409", "422", "503"} <= set(again["responses"])
    for operation in (name, again):
        assert "application/json" in operation["requestBody"]["content"]
        assert operation["summary"]
    assert not again["requestBody"].get("required")
    hints = {"num_speakers", "min_speakers", "max_speakers"}
    assert set(schemas["RediarizeIn"]["properties"]) == hints
    form = next(s for s in schemas.values() if {"file", "diarize"} <= set(s.get("properties", {})))
    assert hints <= set(form["properties"])
    result = json.dumps(paths["/api/v1/tasks/{task_id}/result"]["get"]["parameters"])
    assert "rttm" in result
    assert {"speakers", "turns"} <= set(schemas["TranscriptOut"]["properties"])
