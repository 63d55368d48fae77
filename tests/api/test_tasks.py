"""The life of a task over REST, on a real stack."""

import csv
import io
import json
import uuid
from pathlib import Path

import httpx
import pytest
import srt
import webvtt

from tests.conftest import Stack, upload, wait_for_end


@pytest.fixture(scope="module")
def finished(stack: Stack, short_wav: Path) -> dict:
    with httpx.Client(base_url=stack.url, timeout=60) as api:
        task = upload(api, short_wav).json()
        return wait_for_end(api, task["id"])


def test_upload_is_accepted_and_says_where_to_ask(api: httpx.Client, short_wav: Path) -> None:
    response = upload(api, short_wav)

    assert response.status_code == 202
    task = response.json()
    assert response.headers["Location"] == f"/api/v1/tasks/{task['id']}"
    assert task["status"] == "pending"
    assert task["file_name"] == "short.wav"
    assert wait_for_end(api, task["id"])["status"] == "completed"


def test_progress_only_grows(api: httpx.Client, short_wav: Path) -> None:
    task_id = upload(api, short_wav).json()["id"]
    seen = []
    while True:
        task = api.get(f"/api/v1/tasks/{task_id}").json()
        seen.append(task["progress"]["percent"])
        if task["status"] == "completed":
            break

    assert seen == sorted(seen)
    assert seen[-1] == 100


def test_a_finished_task_tells_its_times(finished: dict) -> None:
    assert finished["status"] == "completed"
    assert finished["stage"] == "done"
    assert finished["error"] is None
    assert finished["created_at"] <= finished["started_at"] <= finished["finished_at"]
    assert finished["queue_position"] is None


def test_json_result(api: httpx.Client, finished: dict) -> None:
    transcript = api.get(f"/api/v1/tasks/{finished['id']}/result").json()

    assert transcript["job_id"] == finished["id"]
    assert transcript["language"] == "en"
    assert transcript["duration"] == pytest.approx(10, abs=0.01)
    assert transcript["text"].startswith("Good morning everyone.")
    assert transcript["segments"][0]["words"][0]["word"] == "Good"


def test_text_formats_can_be_read_back(api: httpx.Client, finished: dict) -> None:
    def fetch(name: str) -> str:
        return api.get(f"/api/v1/tasks/{finished['id']}/result", params={"format": name}).text

    lines = fetch("txt").splitlines()
    assert lines[0] == "Good morning everyone."
    assert [cue.content for cue in srt.parse(fetch("srt"))][0] == lines[0]
    assert webvtt.from_buffer(io.StringIO(fetch("vtt"))).captions[0].text == lines[0]
    rows = list(csv.DictReader(io.StringIO(fetch("tsv")), delimiter="\t"))
    assert [row["text"] for row in rows] == lines
    assert 0 <= int(rows[0]["start"]) < int(rows[0]["end"]) <= 10_000


def test_download_is_named_like_the_upload(api: httpx.Client, short_wav: Path) -> None:
    name = 'mee"ting; ü\r\n.wav'
    with short_wav.open("rb") as file:
        task = api.post("/api/v1/tasks/upload", files={"file": (name, file)}).json()
    wait_for_end(api, task["id"])

    response = api.get(
        f"/api/v1/tasks/{task['id']}/result", params={"format": "srt", "download": "true"}
    )

    disposition = response.headers["Content-Disposition"]
    assert disposition.startswith("attachment; ")
    assert "filename*=UTF-8''mee" in disposition
    assert disposition.endswith(".srt")
    assert "\r" not in disposition


def test_word_timestamps_can_be_left_out(api: httpx.Client, short_wav: Path) -> None:
    task = upload(api, short_wav, word_timestamps="false").json()
    wait_for_end(api, task["id"])

    transcript = api.get(f"/api/v1/tasks/{task['id']}/result").json()
    assert "words" not in transcript["segments"][0]


def test_fixed_chunking_gives_the_same_text(
    api: httpx.Client, short_wav: Path, finished: dict
) -> None:
    task = upload(api, short_wav, chunking="fixed", language="en").json()
    wait_for_end(api, task["id"])

    def text(task_id: str) -> str:
        return api.get(f"/api/v1/tasks/{task_id}/result").json()["text"]

    assert text(task["id"]) == text(finished["id"])


def test_metadata(api: httpx.Client, finished: dict, short_wav: Path) -> None:
    facts = api.get(f"/api/v1/tasks/{finished['id']}/metadata").json()

    assert facts["size_bytes"] == short_wav.stat().st_size
    assert facts["format"] == "wav"
    assert facts["duration"] == pytest.approx(10, abs=0.01)
    assert facts["options"]["model"] == "demo-en"
    assert set(facts["timings"]) == {"prepare", "transcribe", "merge"}


def test_list_is_newest_first_and_pages(api: httpx.Client, short_wav: Path) -> None:
    made = [upload(api, short_wav).json()["id"] for _ in range(3)]

    first = api.get("/api/v1/tasks", params={"limit": 2}).json()
    second = api.get("/api/v1/tasks", params={"limit": 2, "cursor": first["next_cursor"]}).json()
    listed = [task["id"] for task in first["tasks"] + second["tasks"]]

    assert listed[:3] == made[::-1]
    for task_id in made:
        wait_for_end(api, task_id)
    pending = api.get("/api/v1/tasks", params={"status": "pending"}).json()["tasks"]
    assert not {task["id"] for task in pending} & set(made)


def test_delete_leaves_nothing(api: httpx.Client, stack: Stack, short_wav: Path) -> None:
    task_id = upload(api, short_wav).json()["id"]
    wait_for_end(api, task_id)

    assert api.delete(f"/api/v1/tasks/{task_id}").status_code == 204
    assert api.get(f"/api/v1/tasks/{task_id}").status_code == 404
    assert api.delete(f"/api/v1/tasks/{task_id}").status_code == 404
    assert not (stack.data_dir / "objects" / "jobs" / task_id).exists()


def test_delete_while_running_leaves_nothing(
    api: httpx.Client, stack: Stack, short_wav: Path
) -> None:
    task_id = upload(api, short_wav).json()["id"]
    assert api.delete(f"/api/v1/tasks/{task_id}").status_code == 204

    # A task behind it in the same queue ends only after the consumers are through with this one.
    for _ in range(2):
        wait_for_end(api, upload(api, short_wav).json()["id"])
    assert api.get(f"/api/v1/tasks/{task_id}").status_code == 404
    assert not (stack.data_dir / "objects" / "jobs" / task_id).exists()


def test_result_before_the_end_is_a_conflict(api: httpx.Client, short_wav: Path) -> None:
    task_id = upload(api, short_wav).json()["id"]

    response = api.get(f"/api/v1/tasks/{task_id}/result")

    assert response.status_code == 409
    assert response.json()["code"] == "not_finished"
    wait_for_end(api, task_id)


@pytest.mark.parametrize("path", ["", "/result", "/metadata"])
def test_unknown_ids(api: httpx.Client, path: str) -> None:
    response = api.get(f"/api/v1/tasks/{uuid.uuid4().hex}{path}")

    assert response.status_code == 404
    assert response.json()["code"] == "task_not_found"


def test_ten_uploads_at_once_all_finish(stack: Stack, short_wav: Path) -> None:
    import concurrent.futures

    def one(_: int) -> str:
        with httpx.Client(base_url=stack.url, timeout=120) as api:
            task = upload(api, short_wav).json()
            wait_for_end(api, task["id"], seconds=170)
            return api.get(f"/api/v1/tasks/{task['id']}/result", params={"format": "txt"}).text

    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        texts = list(pool.map(one, range(10)))

    assert len(texts) == 10
    assert len(set(texts)) == 1
    assert texts[0].startswith("Good morning everyone.")


def test_openapi_describes_every_error(api: httpx.Client) -> None:
    description = json.loads(api.get("/openapi.json").text)

    upload_answers = description["paths"]["/api/v1/tasks/upload"]["post"]["responses"]
    assert {"202", "409", "413", "415", "422", "429", "503"} <= set(upload_answers)
    assert "examples" in json.dumps(description["components"]["schemas"]["ErrorBody"])


def test_openapi_describes_what_can_be_done_to_a_task(api: httpx.Client) -> None:
    description = json.loads(api.get("/openapi.json").text)
    paths, schemas = description["paths"], description["components"]["schemas"]
    cancel = paths["/api/v1/tasks/{task_id}/cancel"]["post"]
    retry = paths["/api/v1/tasks/{task_id}/retry"]["post"]
    assert {"200", "404", "409", "503"} <= set(cancel["responses"])
    assert {"202", "404", "409", "503"} <= set(retry["responses"])
    sent = paths["/api/v1/tasks/upload"]["post"]["parameters"]
    (key,) = (one for one in sent if one["in"] == "header")
    assert (key["name"].lower(), key["required"]) == ("idempotency-key", False)
    form = schemas["UploadForm"]
    assert {"keep_hours", "reuse"} <= set(form["properties"])
    assert {"attempt", "expires_at", "reused_from"} <= set(schemas["TaskOut"]["properties"])
