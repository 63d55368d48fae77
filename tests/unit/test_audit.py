"""`make audit`, against a server that answers like osv.dev's."""

import json
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from core.config import PROJECT_ROOT


class Osv:
    """Knows one advisory on one package, or none; remembers what it was asked."""

    def __init__(self) -> None:
        self.vulnerable: str | None = None
        self.asked: dict[str, str] = {}
        self.url = ""

    def answer(self, query: dict) -> dict:
        name = query["package"]["name"]
        self.asked[name] = query["version"]
        if name != self.vulnerable:
            return {}
        package = {"name": name, "ecosystem": "PyPI"}
        events = [{"introduced": "0"}, {"fixed": "999"}]
        affected = [{"package": package, "ranges": [{"type": "ECOSYSTEM", "events": events}]}]
        return {"vulns": [{"id": "PYSEC-0000-1", "summary": "Bad.", "affected": affected}]}


@pytest.fixture
def osv():
    known = Osv()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            body = json.dumps(known.answer(query)).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    known.url = f"http://127.0.0.1:{server.server_port}/v1/query"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield known
    server.shutdown()
    server.server_close()
    thread.join()


def audit(osv: Osv) -> subprocess.CompletedProcess[str]:
    installed = ["--old-file", ".venv/.installed"]
    variables = [f"OSV_URL={osv.url}", f"BIN={Path(sys.executable).parent}"]
    return subprocess.run(
        ["make", *installed, "audit", *variables],
        cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_every_pinned_package_is_looked_at(osv):
    done = audit(osv)
    assert done.returncode == 0, done.stderr
    lines = (PROJECT_ROOT / "requirements.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if "==" in line)
    assert osv.asked == {re.sub(r"[-_.]+", "-", name).lower(): pins[name] for name in pins}


def test_a_known_vulnerability_fails_it_and_is_named(osv):
    osv.vulnerable = "starlette"
    done = audit(osv)
    assert done.returncode != 0
    assert "starlette" in done.stdout
    assert "PYSEC-0000-1" in done.stdout
    assert "999" in done.stdout
