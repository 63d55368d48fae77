"""Finding models, and fetching them from a server laid out like Hugging Face's."""

import hashlib
import http.server
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from core.errors import InvalidInput, Misconfigured, TransientError
from services import model_service
from services.model_service import ModelService
from tests.conftest import ROOT

CONTENT = struct.pack("<Ii", 0x67676D6C, 51864) + b"weights" * 500_000


class ModelServer(http.server.BaseHTTPRequestHandler):
    """Serves one file, with ranges; breaks off after `limit` bytes where that is set."""

    limit: int | None = None
    requests: ClassVar[list[str | None]] = []

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        type(self).requests.append(asked)
        if not self.path.endswith("/ggml-tiny.en.bin"):
            self.send_error(404)
            return
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        if start >= len(CONTENT):
            self.send_error(416)
            return
        body = CONTENT[start:]
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self.limit])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    digest = hashlib.sha1(CONTENT).hexdigest()
    monkeypatch.setitem(model_service.CATALOGUE, "tiny.en", digest)
    monkeypatch.setattr(ModelServer, "limit", None)
    monkeypatch.setattr(ModelServer, "requests", [])
    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), ModelServer)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{httpd.server_port}/ggerganov/whisper.cpp/resolve/main"
    httpd.shutdown()
    httpd.server_close()


def test_pull(server: str, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    service = ModelService(tmp_path, server)

    path = service.pull("tiny.en", lambda done, total: seen.append((done, total)))

    assert path.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [model.name for model in service.installed()] == ["tiny.en"]
    assert service.get("tiny.en").english_only


def test_a_model_that_is_there_is_not_fetched_again(server: str, tmp_path: Path) -> None:
    service = ModelService(tmp_path, server)
    service.pull("tiny.en")
    service.pull("tiny.en")

    assert len(ModelServer.requests) == 1


def test_a_broken_download_is_continued(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = ModelService(tmp_path, server)
    monkeypatch.setattr(ModelServer, "limit", 2_000_000)
    with pytest.raises(TransientError) as broken:
        service.pull("tiny.en")
    assert broken.value.retryable
    assert service.installed() == []

    monkeypatch.setattr(ModelServer, "limit", None)
    assert service.pull("tiny.en").read_bytes() == CONTENT
    resumed_at = int(str(ModelServer.requests[-1]).removeprefix("bytes=").removesuffix("-"))
    assert 0 < resumed_at <= 2_000_000


def test_a_wrong_checksum_is_refused(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(model_service.CATALOGUE, "tiny.en", "0" * 40)

    with pytest.raises(Misconfigured, match="checksum"):
        ModelService(tmp_path, server).pull("tiny.en")
    assert list(tmp_path.iterdir()) == []


def test_a_server_without_the_model(server: str, tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="404"):
        ModelService(tmp_path, server).pull("base.en")


def test_no_server(tmp_path: Path) -> None:
    with pytest.raises(TransientError):
        ModelService(tmp_path, "http://127.0.0.1:9").pull("tiny.en")


def test_unknown_models(tmp_path: Path) -> None:
    service = ModelService(ROOT / "models", "http://unused")

    with pytest.raises(InvalidInput, match="Installed: demo-en"):
        service.get("nonsense")
    with pytest.raises(InvalidInput, match="no model"):
        service.pull("nonsense")


def test_files_that_are_not_models_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "ggml-fake.bin").write_text("not a model")
    (tmp_path / "ggml-empty.bin").touch()

    assert ModelService(tmp_path, "http://unused").installed() == []
