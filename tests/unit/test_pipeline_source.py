"""Diarization pipelines from a folder and from Hugging Face, with everything that can be missing.

A local server serves the hub's own layout: the real client and the real loader talk to it.
"""

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PIPELINE = ROOT / "models" / "demo" / "diarization"
GATED = "team/gated-pipeline"
ACCEPTED, NEW = "hf_whoAccepted", "hf_whoDidNot"

# One process for all cases: importing torch takes seconds. The hub's client tries six times, but
# without the pauses between them, which come to 23 s.
PROBE = """
import json, sys, time
time.sleep = lambda _seconds: None
from core.errors import AppError
from worker.pipeline_source import check_pipeline, load_pipeline
from core.logger import configure_logging

configure_logging("ERROR")
found = []
for what, pipeline, token in json.loads(sys.argv[1]):
    try:
        (load_pipeline if what == "load" else check_pipeline)(pipeline, token)
        found.append({"code": "ok", "message": ""})
    except AppError as error:
        found.append({"code": error.error_code, "message": error.message,
                      "retryable": error.retryable})
print(json.dumps(found))
"""


class Hub(BaseHTTPRequestHandler):
    """The parts of Hugging Face's HTTP interface that fetching a model uses."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, *, body):
        path = self.path.partition("?")[0]
        repository = "/".join(path.removeprefix("/api/models").split("/")[1:3])
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if repository != GATED:
            self.send(404, b"", {"X-Error-Code": "RepoNotFound"})
        elif token != ACCEPTED:
            self.send(403 if token else 401, b"", {"X-Error-Code": "GatedRepo"})
        elif path.endswith("/auth-check"):
            self.send(200, b"{}", {})
        else:
            self.send_file(path.partition("/resolve/main/")[2], body=body)

    def send_file(self, name, *, body):
        file = PIPELINE / name
        if not file.is_file():
            self.send(404, b"", {"X-Error-Code": "EntryNotFound"})
            return
        content = file.read_bytes()
        headers = {"X-Repo-Commit": "0" * 40, "ETag": f'"{len(content):040x}"'}
        self.send(200, content, headers, body=body)

    def send(self, status, content, headers, *, body=True):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body and self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def hub():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


def probe(cases, home, endpoint):
    """Run each (load or check, pipeline, token) in a fresh process; return what came of it."""
    ran = subprocess.run(
        [sys.executable, "-c", PROBE, json.dumps(cases)],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
        env=os.environ | {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_TOKEN": ""},
    )
    assert ran.returncode == 0, ran.stderr
    return dict(zip(map(tuple, cases), json.loads(ran.stdout.splitlines()[-1]), strict=True))


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Where what is fetched is kept."""
    return tmp_path_factory.mktemp("hub")


@pytest.fixture(scope="module")
def outcomes(hub, home, tmp_path_factory):
    empty = tmp_path_factory.mktemp("empty")
    broken = tmp_path_factory.mktemp("broken")
    (broken / "config.yaml").write_text("pipeline: {name: no.such.Pipeline}\n")
    cases = [
        (what, pipeline, token)
        for what in ("check", "load")
        for pipeline, token in (
            (GATED, None), (GATED, NEW), ("team/nothing-there", ACCEPTED), (str(empty), None),
        )
    ]  # fmt: skip
    cases += [("check", GATED, ACCEPTED), ("load", GATED, ACCEPTED), ("load", str(broken), None)]
    found = probe(cases, home, hub)
    named = {str(empty): "empty", str(broken): "broken"}
    return {
        (what, named.get(pipeline, pipeline), token): outcome
        for (what, pipeline, token), outcome in found.items()
    }


@pytest.mark.parametrize("what", ["check", "load"])
@pytest.mark.parametrize(
    ("pipeline", "token", "code", "advice"),
    [
        (GATED, None, "hf_token_missing", "HF_TOKEN"),
        (GATED, NEW, "hf_licence_not_accepted", f"https://hf.co/{GATED}"),
        ("team/nothing-there", ACCEPTED, "diarization_pipeline_missing", "team/nothing-there"),
        ("empty", None, "diarization_pipeline_missing", "DIARIZATION_PIPELINE"),
    ],
)
def test_what_is_missing_is_said_and_what_to_do(outcomes, what, pipeline, token, code, advice):
    outcome = outcomes[what, pipeline, token]
    assert outcome["code"] == code
    assert advice in outcome["message"]
    assert not outcome["retryable"]
    assert token is None or token not in outcome["message"]


@pytest.mark.parametrize("what", ["check", "load"])
def test_a_gated_pipeline_is_fetched_with_the_token_of_somebody_who_accepted(outcomes, what):
    assert outcomes[what, GATED, ACCEPTED]["code"] == "ok"


def test_a_pipeline_that_cannot_be_loaded_is_named(outcomes):
    outcome = outcomes["load", "broken", None]
    assert outcome["code"] == "diarization_pipeline_missing"
    assert "broken" in outcome["message"]


NEVER_FETCHED = "team/never-fetched"


@pytest.fixture(scope="module")
def outcomes_without_hub(outcomes, home):
    assert outcomes["load", GATED, ACCEPTED]["code"] == "ok"
    cases = [
        (what, pipeline, ACCEPTED)
        for what in ("check", "load")
        for pipeline in (NEVER_FETCHED, GATED)
    ]
    return probe(cases, home, "http://127.0.0.1:9")


@pytest.mark.parametrize("what", ["check", "load"])
def test_an_unreachable_hub_may_be_tried_again(outcomes_without_hub, what):
    outcome = outcomes_without_hub[what, NEVER_FETCHED, ACCEPTED]
    assert outcome["code"] == "hf_unreachable"
    assert outcome["retryable"]


@pytest.mark.parametrize("what", ["check", "load"])
def test_what_was_fetched_once_needs_no_hub(outcomes_without_hub, what):
    assert outcomes_without_hub[what, GATED, ACCEPTED]["code"] == "ok"
