"""What is refused about speakers: with a status, a code and a sentence, and nothing changed."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.api.test_bad_input import expect, nothing_left  # noqa: F401 - a fixture for all tests
from tests.conftest import Stack, upload, wait_for_end


@pytest.fixture(scope="module")
def finished(stack: Stack, short_wav: Path) -> str:
    """A task without speakers."""
    with httpx.Client(base_url=stack.url, timeout=60) as api:
        task_id = upload(api, short_wav).json()["id"]
        assert wait_for_end(api, task_id)["status"] == "completed"
    return f"/api/v1/tasks/{task_id}"


@pytest.fixture
def unchanged(api: httpx.Client, finished: str) -> Iterator[str]:
    """The finished task, which has to be the same afterwards."""
    before = api.get(finished).json()
    yield finished
    assert api.get(finished).json() == before


@pytest.mark.parametrize("option", ["num_speakers", "min_speakers", "max_speakers"])
@pytest.mark.parametrize("value", ["0", "-1", "51", "three", "2.5", "1e1", "9" * 30])
def test_uploads_with_impossible_numbers(
    api: httpx.Client, short_wav: Path, option: str, value: str
) -> None:
    body = expect(upload(api, short_wav, diarize="true", **{option: value}), 422, "invalid_option")
    assert option in body["message"]
    assert body["details"]["problems"][0]["field"] == option


@pytest.mark.parametrize(
    "options",
    [
        {"num_speakers": "2"},
        {"min_speakers": "2"},
        {"max_speakers": "2"},
        {"diarize": "false", "num_speakers": "2"},
        {"diarize": "true", "num_speakers": "2", "min_speakers": "2"},
        {"diarize": "true", "num_speakers": "2", "max_speakers": "2"},
        {"diarize": "true", "num_speakers": "2", "min_speakers": "1", "max_speakers": "3"},
        {"diarize": "true", "min_speakers": "3", "max_speakers": "2"},
    ],
    ids=str,
)
def test_uploads_with_numbers_that_contradict(
    api: httpx.Client, short_wav: Path, options: dict[str, str]
) -> None:
    body = expect(upload(api, short_wav, **options), 422, "invalid_speakers")
    assert "_speakers" in body["message"] or "diarize=true" in body["message"]


def test_uploads_that_perhaps_ask_for_speakers(api: httpx.Client, short_wav: Path) -> None:
    expect(upload(api, short_wav, diarize="perhaps"), 422, "invalid_option")


@pytest.mark.parametrize(
    "names",
    [
        {},
        {"Speaker 1": "Ann"},
        {"SPEAKER_0": "Ann"},
        {"SPEAKER_00000": "Ann"},
        {"SPEAKER_00\n": "Ann"},
        {"speaker_00": "Ann"},
        {"SPEAKER_\u0660\u0660": "Ann"},
        {"$set": "Ann"},
        {"SPEAKER_00.name": "Ann"},
        {"SPEAKER_00": ""},
        {"SPEAKER_00": " \t "},
        {"SPEAKER_00": " \u00a0 "},
        {"SPEAKER_00": "Ann\nBo"},
        {"SPEAKER_00": "A\u0000nn"},
        {"SPEAKER_00": "A\u001bnn"},
        {"SPEAKER_00": "A\u007fnn"},
        {"SPEAKER_00": "x" * 101},
        {"SPEAKER_00": 7},
        {"SPEAKER_00": ["Ann"]},
        {"SPEAKER_00": {"name": "Ann"}},
        {"SPEAKER_00": "Ann", "x": "Bo"},
        {f"SPEAKER_{at:04}": "Ann" for at in range(1001)},
        ["SPEAKER_00"],
        "SPEAKER_00",
        None,
    ],
    ids=lambda names: repr(names)[:40],
)
def test_names_that_cannot_be_kept(api: httpx.Client, unchanged: str, names: object) -> None:
    expect(api.patch(f"{unchanged}/speakers", json=names), 422, "invalid_option")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 422, "invalid_json"),
        (b"SPEAKER_00=Ann", 422, "invalid_json"),
        (b"\xff\xfe", 422, "invalid_json"),
        (b'{"\\ud800": "Ann"}', 422, "invalid_option"),  # half a character
        (b"[" * 100_000, 400, "bad_request"),
    ],
    ids=lambda value: repr(value)[:30],
)
@pytest.mark.parametrize(("method", "path"), [("PATCH", "speakers"), ("POST", "rediarize")])
def test_bodies_that_cannot_be_read(
    api: httpx.Client, unchanged: str, method: str, path: str, body: bytes, status: int, code: str
) -> None:
    headers = {"Content-Type": "application/json"}
    response = api.request(method, f"{unchanged}/{path}", content=body, headers=headers)
    expect(response, status, code)


def test_half_a_character_in_a_name(api: httpx.Client, unchanged: str) -> None:
    headers = {"Content-Type": "application/json"}
    body = b'{"SPEAKER_00": "\\ud800"}'
    response = api.patch(f"{unchanged}/speakers", content=body, headers=headers)
    expect(response, 422, "invalid_option")


def test_names_without_a_body(api: httpx.Client, unchanged: str) -> None:
    expect(api.patch(f"{unchanged}/speakers"), 422, "invalid_option")
    form = api.patch(f"{unchanged}/speakers", data={"SPEAKER_00": "Ann"})
    expect(form, 422, "invalid_option")


@pytest.mark.parametrize("name", ["Ann", None])
def test_names_for_a_speaker_who_is_not_there(
    api: httpx.Client, unchanged: str, name: str | None
) -> None:
    response = api.patch(f"{unchanged}/speakers", json={"SPEAKER_00": name})
    body = expect(response, 422, "unknown_speaker")
    assert "SPEAKER_00" in body["message"]
    assert body["details"]["speakers"] == []


@pytest.mark.parametrize("option", ["num_speakers", "min_speakers", "max_speakers"])
@pytest.mark.parametrize("value", [0, -1, 51, "three", 2.5, [2], 10**30])
def test_asking_again_with_impossible_numbers(
    api: httpx.Client, unchanged: str, option: str, value: object
) -> None:
    body = expect(api.post(f"{unchanged}/rediarize", json={option: value}), 422, "invalid_option")
    assert option in body["message"]


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"num_speakers": 2, "min_speakers": 2}, "invalid_speakers"),
        ({"num_speakers": 2, "max_speakers": 2}, "invalid_speakers"),
        ({"min_speakers": 3, "max_speakers": 2}, "invalid_speakers"),
        ({"speakers": 2}, "unknown_option"),
        ({"num_speakers": 2, "diarize": True}, "unknown_option"),
        ([2], "invalid_option"),
        ("2", "invalid_option"),
    ],
    ids=str,
)
def test_asking_again_with_what_makes_no_sense(
    api: httpx.Client, unchanged: str, asked: object, code: str
) -> None:
    expect(api.post(f"{unchanged}/rediarize", json=asked), 422, code)


def test_unknown_tasks(api: httpx.Client) -> None:
    unknown = f"/api/v1/tasks/{uuid.uuid4().hex}"
    names = api.patch(f"{unknown}/speakers", json={"SPEAKER_00": "Ann"})
    expect(names, 404, "task_not_found")
    expect(api.post(f"{unknown}/rediarize"), 404, "task_not_found")
    expect(api.post(f"{unknown}/rediarize", json={"num_speakers": 2}), 404, "task_not_found")


@pytest.mark.parametrize(("method", "path"), [("GET", "speakers"), ("GET", "rediarize")])
def test_wrong_methods(api: httpx.Client, finished: str, method: str, path: str) -> None:
    expect(api.request(method, f"{finished}/{path}"), 405, "method_not_allowed")
