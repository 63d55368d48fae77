"""What is refused: each with a status, a code and a sentence, and nothing left behind."""

import itertools
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.conftest import Stack, upload

REFUSED = "/api/v1/tasks/upload"


@pytest.fixture(autouse=True)
def nothing_left(stack: Stack, api: httpx.Client) -> Iterator[None]:
    """Every refusal leaves storage, temporary files and the list of tasks as they were."""

    def kept() -> tuple[list[Path], list[str]]:
        objects = stack.data_dir / "objects"
        files = sorted(path for path in objects.rglob("*") if path.is_file())
        tasks = [task["id"] for task in api.get("/api/v1/tasks").json()["tasks"]]
        return files, tasks

    before = kept()
    yield
    assert kept() == before


def expect(response: httpx.Response, status: int, code: str) -> dict:
    assert response.status_code == status, response.text
    body = response.json()
    assert body["code"] == code
    assert body["message"].endswith(".")
    assert len(body["message"].split()) > 4
    assert body["request_id"] == response.headers["X-Request-ID"]
    assert "Traceback" not in response.text
    return body


def test_no_file(api: httpx.Client) -> None:
    expect(api.post(REFUSED, data={"language": "en"}), 422, "missing_file")


def test_file_field_that_is_text(api: httpx.Client) -> None:
    expect(api.post(REFUSED, data={"file": "hello"}), 422, "missing_file")


def test_empty_file(api: httpx.Client, tmp_path: Path) -> None:
    path = tmp_path / "empty.wav"
    path.touch()
    expect(upload(api, path), 422, "empty_file")


def test_text_renamed(api: httpx.Client, tmp_path: Path) -> None:
    path = tmp_path / "notes.mp3"
    path.write_text("this is no recording\n" * 100)
    expect(upload(api, path), 415, "unsupported_media")


def test_playlist_renamed(api: httpx.Client, tmp_path: Path, short_wav: Path) -> None:
    path = tmp_path / "list.mp3"
    path.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile://{short_wav}\n")
    expect(upload(api, path), 415, "unsupported_media")


def test_truncated_file(api: httpx.Client, tmp_path: Path, short_wav: Path) -> None:
    content = short_wav.read_bytes()
    path = tmp_path / "cut.wav"
    path.write_bytes(content[: len(content) // 2])
    expect(upload(api, path), 422, "truncated_audio")


def test_video_without_audio(api: httpx.Client, silent_video: Path) -> None:
    expect(upload(api, silent_video), 415, "no_audio")


@pytest.fixture(scope="session")
def silent_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import subprocess

    from worker.media import find_ffmpeg

    path = tmp_path_factory.mktemp("video") / "film.mp4"
    argv = [find_ffmpeg(), "-loglevel", "error", "-f", "lavfi", "-i", "testsrc=d=2"]
    subprocess.run([*argv, "-c:v", "mpeg4", str(path)], check=True, timeout=60)
    return path


def test_unknown_option(api: httpx.Client, short_wav: Path) -> None:
    body = expect(upload(api, short_wav, colour="blue"), 422, "unknown_option")
    assert "colour" in body["message"]


@pytest.mark.parametrize(
    ("option", "value", "code"),
    [
        ("chunking", "sometimes", "invalid_option"),
        ("word_timestamps", "perhaps", "invalid_option"),
        ("prompt", "x" * 1001, "invalid_option"),
        ("prompt", "a\0b", "invalid_option"),
        ("language", "klingon", "unknown_language"),
        ("language", "de", "unsupported_language"),
        ("model", "large-v9", "unknown_model"),
        ("model", "../../etc/passwd", "unknown_model"),
    ],
)
def test_unusable_options(
    api: httpx.Client, short_wav: Path, option: str, value: str, code: str
) -> None:
    expect(upload(api, short_wav, **{option: value}), 422, code)


def test_unknown_model_lists_what_there_is(api: httpx.Client, short_wav: Path) -> None:
    body = expect(upload(api, short_wav, model="base.en"), 422, "unknown_model")
    assert "demo-en" in body["details"]["installed"]
    assert "models pull base.en" in body["message"]


def test_declared_length_over_the_limit(stack: Stack, api: httpx.Client) -> None:
    """Refused by its header: not a byte of the body has to be sent."""
    host, port = api.base_url.host, api.base_url.port
    request = (
        f"POST {REFUSED} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 600000000\r\n"
        "Content-Type: multipart/form-data; boundary=x\r\n\r\n"
    )
    with socket.create_connection((host, port), timeout=30) as sock:
        sock.sendall(request.encode())
        answer = b"".join(iter(lambda: sock.recv(65536), b"")).decode()

    assert answer.startswith("HTTP/1.1 413")
    assert "file_too_large" in answer


def test_undeclared_length_over_the_limit(api: httpx.Client) -> None:
    """A body without a length is counted while it arrives, and cut off."""
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
    body = itertools.chain([head], itertools.repeat(b"\0" * 1_000_000, 600))

    response = api.post(
        REFUSED, content=body, headers={"Content-Type": "multipart/form-data; boundary=x"}
    )

    expect(response, 413, "file_too_large")


def test_broken_form(api: httpx.Client) -> None:
    response = api.post(
        REFUSED, content=b"nonsense", headers={"Content-Type": "multipart/form-data; boundary=x"}
    )
    assert 400 <= response.status_code < 500
    assert response.json()["message"]


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/api/v1/nothing", 404, "route_not_found"),
        ("/api/v1/tasks/abc", 404, "task_not_found"),
        ("/api/v1/tasks?limit=0", 422, "invalid_option"),
        ("/api/v1/tasks?status=lost", 422, "invalid_option"),
        ("/api/v1/tasks?cursor=nonsense", 422, "invalid_cursor"),
        ("/api/v1/tasks/abc/result?format=docx", 422, "invalid_option"),
    ],
)
def test_other_requests(api: httpx.Client, path: str, status: int, code: str) -> None:
    expect(api.get(path), status, code)


def test_wrong_method(api: httpx.Client) -> None:
    expect(api.put("/api/v1/tasks"), 405, "method_not_allowed")
