"""What the API's description allows, and what it does not, tried out by schemathesis.

It sends values on and over every limit that the description names, then random ones, and compares
the answers with it: no request may make the server fail (5xx); the status, headers, type and body
of each answer are described; what the description forbids is refused; and no answer shows anything
of the server's inside.

FUZZ_CASES says how many random requests there are; `FUZZ_CASES=2000` is the thorough run.
"""

import json
import os
import subprocess
import sys
import wave
from pathlib import Path

import httpx
import pytest

from tests.api.conftest import Keyed
from tests.api.support import TASKS, key_id
from tests.conftest import ROOT, upload, wait_for_end

CASES = int(os.environ.get("FUZZ_CASES", "100"))
CONFIG = Path(__file__).parent / "fuzz.toml"
HOOKS = "tests.api.fuzz_hooks"


@pytest.mark.timeout(180 + CASES)
def test_whatever_is_sent(keyed: Keyed, tmp_path: Path, short_wav: Path) -> None:
    paths = keyed.api.get("/openapi.json").json()["paths"]
    operations = sum(len(path) for path in paths.values())
    given = what_there_is(keyed, ascii_recording(tmp_path / "silence.wav"), short_wav)
    report = tmp_path / "report.json"

    ran = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG)),
            *("run", f"{keyed.stack.url}/openapi.json"),
            *("--header", f"Authorization: Bearer {keyed.token}"),
            *("--max-examples", str(max(1, CASES // operations))),
            *("--report", "json", "--report-json-path", str(report), "--no-color"),
        ],
        env=os.environ | {"SCHEMATHESIS_HOOKS": HOOKS, "FUZZ_GIVEN": json.dumps(given)},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )

    print(ran.stdout, ran.stderr)
    assert ran.returncode == 0
    done = json.loads(report.read_text())
    assert done["operations"]["tested"] == operations
    assert done["test_cases"]["generated"] > CASES
    assert keyed.api.get(TASKS).status_code == 200  # it has not locked itself out


def ascii_recording(path: Path) -> Path:
    """Two seconds of silence whose every byte, those of the header as well, is ASCII."""
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(4096)
        out.writeframes(bytes(2 * 8192))
    assert path.read_bytes().isascii()
    return path


def what_there_is(keyed: Keyed, recording: Path, speech: Path) -> dict:
    """Make one of each thing, so that requests can be about something."""
    api = keyed.api
    tasks = [upload(api, path).json()["id"] for path in (recording, speech)]
    for task_id in tasks:
        assert wait_for_end(api, task_id)["status"] == "completed"
    webhook = api.post("/api/v1/webhooks", json={"url": "http://127.0.0.1:1/"}).json()["id"]
    delivery = api.post(f"/api/v1/webhooks/{webhook}/test").json()["delivery_id"]
    content = recording.read_bytes()
    asked = {"file_name": "a.wav", "size_bytes": len(content)}
    opened = api.post("/api/v1/uploads", json=asked).json()
    httpx.put(opened["url"], content=content).raise_for_status()
    return {
        "recording": str(recording),
        "key_id": key_id(keyed.token),
        "upload_id": opened["id"],
        "inside": [str(ROOT), str(keyed.stack.data_dir)],
        "ids": {
            "task_id": tasks,
            "webhook_id": [webhook],
            "delivery_id": [delivery],
            "upload_id": [opened["id"]],
            "model": ["whisper-1"],
        },
    }
