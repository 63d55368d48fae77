"""The commands' HTTP client, against a server that says what a test wants it to say."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner

from core.errors import PermanentError, TransientError
from internal.cli import client as client_module
from internal.cli.client import ApiClient
from internal.cli.transcribe import transcribe
from tests.conftest import free_port

BROKEN = (0, {}, None)
ACCEPTED = (202, {}, {"id": "abc", "status": "pending"})
RESULT = "/api/v1/tasks/abc/result?format=txt"

Answer = tuple[int, dict[str, str], dict | str | None]


@dataclass
class Server:
    """Gives its answers in their order, the last one again and again; keeps what it was asked."""

    url: str = ""
    answers: list[Answer] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    def say(self, *answers: Answer) -> None:
        self.answers = list(answers)

    def next_answer(self) -> Answer:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@pytest.fixture
def server() -> Iterator[Server]:
    ours = Server()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            ours.requests.append(f"{self.command} {self.path}")
            ours.keys.append(self.headers["Idempotency-Key"])
            ours.bodies.append(self.rfile.read(int(self.headers["Content-Length"] or 0)))
            status, headers, body = ours.next_answer()
            if not status:
                self.close_connection = True
                return
            content = (body if isinstance(body, str) else json.dumps(body)).encode()
            self.send_response(status)
            for name, value in (headers | {"Content-Length": str(len(content))}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_DELETE = answer

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        ours.url = f"http://127.0.0.1:{http.server_port}"
        threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
        yield ours
        http.shutdown()


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Nobody waits here; these are the seconds that would have been waited."""
    slept: list[float] = []
    ours, really_sleep = threading.current_thread(), time.sleep

    def sleep(seconds: float) -> None:
        if threading.current_thread() is ours:
            slept.append(seconds)
        else:  # what earlier tests left running
            really_sleep(seconds)

    monkeypatch.setattr(client_module.time, "sleep", sleep)
    return slept


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "a.wav"
    path.write_bytes(b"RIFF" + bytes(100_000))
    return path


def refusal(status: int, code: str, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return status, named, {"code": code, "message": "There is no room."}


@pytest.mark.parametrize(
    ("status", "code"),
    [(503, "database_unavailable"), (429, "too_many_tasks"), (409, "idempotency_key_in_use")],
)
def test_an_upload_is_sent_again_when_the_server_wants_it(
    server: Server, recording: Path, pauses: list[float], status: int, code: str
) -> None:
    told: list[str] = []
    server.say(
        refusal(status, code, Retry_After="0"), refusal(status, code, Retry_After="7"), ACCEPTED
    )
    with ApiClient(server.url, told.append) as client:
        task = client.upload(recording, {"prompt": "Laura"})

    assert task["id"] == "abc"
    assert pauses == [0, 7]
    assert told == [
        "There is no room. Trying again in 0 s.",
        "There is no room. Trying again in 7 s.",
    ]
    (key,) = set(server.keys)
    assert len(key or "") >= 32
    assert all(body.count(recording.read_bytes()) == 1 for body in server.bodies)
    assert all(b"Laura" in body for body in server.bodies)


def test_each_upload_has_a_key_of_its_own(server: Server, recording: Path) -> None:
    server.say(ACCEPTED)
    with ApiClient(server.url) as client:
        client.upload(recording, {})
        client.upload(recording, {})
    assert len(set(server.keys)) == 2


def test_a_broken_connection(server: Server, recording: Path, pauses: list[float]) -> None:
    server.say(BROKEN, BROKEN, ACCEPTED)
    told: list[str] = []
    with ApiClient(server.url, told.append) as client:
        assert client.upload(recording, {})["id"] == "abc"
    assert len(set(server.keys)) == 1
    assert pauses == sorted(pauses)
    assert "broke" in told[0]


def test_a_gateway_whose_server_is_being_restarted(server: Server, recording: Path) -> None:
    server.say((502, {}, "<html>Bad Gateway</html>"), ACCEPTED)
    with ApiClient(server.url) as client:
        assert client.upload(recording, {})["id"] == "abc"


def test_it_gives_up(server: Server, recording: Path, pauses: list[float]) -> None:
    server.say(refusal(429, "too_many_tasks", Retry_After="30"))
    with ApiClient(server.url) as client, pytest.raises(TransientError) as refused:
        client.upload(recording, {})
    assert refused.value.error_code == "too_many_tasks"
    assert pauses == [30] * (len(server.requests) - 1)
    assert 3 <= len(server.requests) <= 10


@pytest.mark.parametrize(
    "answer",
    [
        refusal(422, "unknown_model"),
        refusal(503, "engine_missing"),  # an operator has to see to it
        (500, {}, "Internal Server Error"),
    ],
    ids=lambda answer: str(answer[0]),
)
def test_what_would_be_refused_again(server: Server, recording: Path, answer: Answer) -> None:
    server.say(answer)
    with ApiClient(server.url) as client, pytest.raises(PermanentError):
        client.upload(recording, {})
    assert len(server.requests) == 1


def test_where_no_server_is(recording: Path, pauses: list[float]) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with ApiClient(url) as client, pytest.raises(PermanentError) as refused:
        client.upload(recording, {})
    assert refused.value.error_code == "server_unreachable"
    assert "python main.py up" in refused.value.message
    assert pauses == []


@pytest.mark.parametrize("url", ["no address", "ftp://127.0.0.1"])
def test_what_is_no_address(recording: Path, pauses: list[float], url: str) -> None:
    with ApiClient(url) as client, pytest.raises(PermanentError) as refused:
        client.upload(recording, {})
    assert refused.value.error_code == "server_unreachable"
    assert pauses == []


def test_waiting_outlasts_an_outage(server: Server) -> None:
    server.say(
        (200, {}, {"status": "processing"}),
        BROKEN,
        refusal(503, "database_unavailable", Retry_After="5"),
        (200, {}, {"status": "completed"}),
    )
    with ApiClient(server.url) as client:
        assert client.wait("abc")["status"] == "completed"


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_waiting_for_what_comes_to_nothing(server: Server, status: str) -> None:
    server.say((200, {}, {"status": status, "error": None}))
    with ApiClient(server.url) as client, pytest.raises(PermanentError) as ended:
        client.wait("abc")
    assert ended.value.error_code == f"task_{status}"


def interrupt(monkeypatch: pytest.MonkeyPatch, server: Server, path: Path, *options: str) -> str:
    """Press Ctrl-C while `transcribe` waits; returns what it says."""

    def press(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ApiClient, "wait", press)
    ran = CliRunner().invoke(transcribe, [str(path), "--url", f"{server.url}/", *options])
    assert ran.exit_code == 1
    assert ran.stdout == ""
    return ran.stderr


def test_interrupted(monkeypatch: pytest.MonkeyPatch, server: Server, recording: Path) -> None:
    server.say(ACCEPTED)
    said = interrupt(monkeypatch, server, recording)
    assert server.requests == ["POST /api/v1/tasks/upload"]
    assert f"{server.url}{RESULT}" in said


def test_interrupted_where_nothing_is_kept(
    monkeypatch: pytest.MonkeyPatch, server: Server, recording: Path
) -> None:
    server.say(ACCEPTED, (204, {}, ""))
    said = interrupt(monkeypatch, server, recording, "--no-keep")
    assert server.requests == ["POST /api/v1/tasks/upload", "DELETE /api/v1/tasks/abc"]
    assert "cancelled and removed" in said
    assert RESULT not in said


def finished(reused_from: str | None = None) -> list[Answer]:
    """What a server says to an upload, one question how far it is, and for the transcript."""
    progress = {"percent": 100, "chunks_done": 1, "chunks_total": 1, "diarization_percent": None}
    task = {
        "id": "abc", "status": "completed", "stage": "done", "progress": progress,
        "queue_position": None, "warnings": [], "error": None, "reused_from": reused_from,
    }  # fmt: skip
    return [(202, {}, task), (200, {}, task), (200, {}, "Good morning.\n")]


def test_options_about_keeping(server: Server, recording: Path) -> None:
    server.say(*finished())
    options = ["--keep-hours", "0.5", "--no-reuse"]
    ran = CliRunner().invoke(transcribe, [str(recording), "--url", server.url, *options])
    assert ran.stdout == "Good morning.\n"
    form = server.bodies[0].decode(errors="replace").split()
    assert form[form.index('name="keep_hours"') + 1] == "0.5"
    assert form[form.index('name="reuse"') + 1] == "false"


def test_a_transcript_from_before_is_named_so(server: Server, recording: Path) -> None:
    server.say(*finished(reused_from="earlier"))
    ran = CliRunner().invoke(transcribe, [str(recording), "--url", server.url])
    assert ran.stdout == "Good morning.\n"
    assert "--no-reuse" in ran.stderr
    assert b'name="reuse"' not in server.bodies[0]


def test_a_task_that_cannot_be_removed_is_no_reason_to_keep_its_transcript(
    server: Server, recording: Path
) -> None:
    server.say(*finished(), refusal(404, "task_not_found"))
    ran = CliRunner().invoke(transcribe, [str(recording), "--url", server.url, "--no-keep"])
    assert (ran.exit_code, ran.stdout) == (0, "Good morning.\n")
    assert "could not be removed" in ran.stderr


@pytest.mark.parametrize("hours", ["0", "-1", "soon"])
def test_impossible_times(recording: Path, hours: str) -> None:
    ran = CliRunner().invoke(transcribe, [str(recording), f"--keep-hours={hours}"])
    assert ran.exit_code == 2
    assert "--keep-hours" in ran.stderr
