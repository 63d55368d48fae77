"""Controls that are no single endpoint's: what names, files, messages and logs may not do.

The others are tried in test_bad_input.py (sizes), tests/chaos/test_silence.py (a day of silence in
a small file), test_keys.py, test_isolation.py, test_rate_limits.py, test_headers.py,
test_from_url.py and test_webhooks.py (addresses, signatures), and test_fuzz.py (errors).
"""

import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import httpx
import numpy as np
import pytest
import redis
from dotenv import dotenv_values

from tests.api.conftest import Keyed
from tests.api.support import TASKS, files_of, needs_folder, refused, wait_until, words_of
from tests.conftest import Stack, upload, wait_for_end, write_wav

HTML = b"<!DOCTYPE html><html><body><script>alert(1)</script></body></html>\n" * 20
# The headers of a Windows program: DOS stub, then PE.
PROGRAM = b"MZ" + bytes(58) + (64).to_bytes(4, "little") + b"PE\0\0\x64\x86" + bytes(2000)
PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nhttp://127.0.0.1:1/secret.ts\n"
CONCAT = b"ffconcat version 1.0\nfile '/etc/passwd'\n"

# Nobody listens there.
NOWHERE = "http://127.0.0.1:1"

# Whatever a client calls its file, and what is shown of it.
NAMES = {
    "../../../x.wav": "x.wav",
    "..\\..\\x.wav": "x.wav",
    "/etc/passwd": "passwd",
    "..": "..",
    "a\0b.wav": "ab.wav",
    "-i": "-i",
    "-version.wav": "-version.wav",
    "$(touch pwned).wav": "$(touch pwned).wav",
    "`touch pwned`; touch pwned |.wav": "`touch pwned`; touch pwned |.wav",
    "%(process_num)s%n{0}.wav": "%(process_num)s%n{0}.wav",
    "\u202egpj.wav": "gpj.wav",
}


@pytest.mark.parametrize("content", [HTML, PROGRAM, PLAYLIST, CONCAT])
@pytest.mark.parametrize("name", ["a.wav", "a.mp3"])
def test_what_a_file_is_called_is_not_believed(
    stack: Stack, api: httpx.Client, content: bytes, name: str
) -> None:
    needs_folder(stack)
    before = stored(stack)

    answer = api.post(f"{TASKS}/upload", files={"file": (name, content, "audio/wav")})

    refused(answer, 415, "unsupported_media")
    assert stored(stack) == before


@pytest.fixture(scope="module")
def named(
    stack: Stack, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, tuple[str, dict]]]:
    """A finished task for each of the names, with its id."""
    path = tmp_path_factory.mktemp("named") / "silence.wav"
    write_wav(path, np.zeros(4000))
    with httpx.Client(base_url=stack.url, timeout=60) as api:
        ids = {name: upload_as(api, name, path.read_bytes()) for name in NAMES}
        yield {name: (task_id, wait_for_end(api, task_id)) for name, task_id in ids.items()}


@pytest.mark.parametrize("name", NAMES)
def test_any_file_name_is_only_a_name(
    stack: Stack, api: httpx.Client, named: dict[str, tuple[str, dict]], name: str
) -> None:
    """It is shown and offered for saving; no file and no argument of a program is called so."""
    task_id, task = named[name]

    assert task["status"] == "completed"
    assert task["file_name"] == NAMES[name]
    answer = api.get(f"{TASKS}/{task_id}/result", params={"format": "txt", "download": "true"})
    saved_as = names_in(answer.headers["Content-Disposition"])
    assert not [found for found in saved_as if set(found) & set('/\\"\0\r\n')]
    if (stack.data_dir / "objects").exists():
        assert all(re.fullmatch(r"[a-z0-9.-]+", file) for file in files_of(stack, task_id))


def test_nothing_was_run_or_written_elsewhere(
    stack: Stack, named: dict[str, tuple[str, dict]]
) -> None:
    everywhere = {path.name for path in stack.data_dir.parent.rglob("*")}
    assert not everywhere & {"pwned", "x.wav", "passwd", "-i", *NAMES.values()}
    assert not Path("pwned").exists()


@pytest.mark.parametrize("name", ["../../x.wav", '"; filename="evil.exe', "a\r\nX-Evil: 1"])
def test_names_in_the_header_of_a_dialect(api: httpx.Client, tmp_path: Path, name: str) -> None:
    path = tmp_path / "silence.wav"
    write_wav(path, np.zeros(4000))

    answer = api.post("/asr", files={"audio_file": (name, path.read_bytes())})

    assert answer.status_code == 200
    disposition = answer.headers["Content-Disposition"]
    assert re.fullmatch(r'attachment; filename="[^"/\\]+"', disposition)
    assert "X-Evil" not in answer.headers


def test_messages_to_consumers_are_json(
    servers_alone: dict[str, str], waiting: httpx.Client, short_wav: Path
) -> None:
    """Whoever can write to Redis cannot have consumers unpickle, and thereby run, something."""
    assert upload(waiting, short_wav).status_code == 202

    with redis.Redis(
        port=int(servers_alone["REDIS_PORT"]), password=servers_alone["REDIS_PASSWORD"]
    ) as server:
        wait_until(lambda: next(server.scan_iter("rq:job:*"), None) is not None)
        jobs = [server.hgetall(key) for key in server.scan_iter("rq:job:*")]
    for job in jobs:
        function, _, arguments, _ = json.loads(zlib.decompress(job[b"data"]))
        assert function == "internal.consumer.handlers.units.work"
        assert all(isinstance(argument, str) for argument in arguments)


def test_the_stacks_redis_wants_its_password(stack: Stack) -> None:
    file = stack.data_dir / "stack.env"
    if not file.exists():
        pytest.skip("Redis is not the embedded one")
    known = dotenv_values(file)

    assert file.stat().st_mode & 0o077 == 0
    assert len(known["REDIS_PASSWORD"] or "") >= 32
    with (
        redis.Redis(port=int(known["REDIS_PORT"] or 0)) as server,
        pytest.raises(redis.AuthenticationError),
    ):
        server.ping()


def test_logs_tell_no_secrets(keyed: Keyed, short_wav: Path) -> None:
    """At INFO, which is the default, nothing of them is in any log of the whole backend."""
    secrets = leave_traces(keyed, short_wav)

    logs = {path.name: path.read_text() for path in (keyed.stack.data_dir / "logs").iterdir()}
    assert "INFO" in logs["api.log"]
    assert "DEBUG" not in logs["api.log"]
    told = {what: [name for name, log in logs.items() if it in log] for what, it in secrets.items()}
    assert not {what: where for what, where in told.items() if where}


def leave_traces(keyed: Keyed, speech: Path) -> dict[str, str]:
    """Use whatever knows a secret; returns them all."""
    api, prompt, voice = keyed.api, "Zyxquartz Plimsoll", "Xanthippe Quagmire"
    hook, link = f"{NOWHERE}/hook?token=c9f1e2", f"{NOWHERE}/a.wav?signature=7be0d4"
    webhook = api.post("/api/v1/webhooks", json={"url": hook}).json()
    options = {"prompt": prompt, "webhook_url": hook, "diarize": "true"}
    task_id = upload(api, speech, **options).json()["id"]
    fetched = api.post(f"{TASKS}/from-url", json={"url": link}).json()["id"]
    opened = api.post("/api/v1/uploads", json={"file_name": "a.wav", "size_bytes": 3}).json()
    assert httpx.put(opened["url"], content=b"abc").status_code == 200
    wrong = httpx.get(f"{api.base_url}{TASKS}", headers={"X-API-Key": "stt_0_wrong-key"})
    assert wrong.status_code == 401
    assert api.get("/api/v1/search", params={"q": "grapnel"}).status_code == 200
    assert wait_for_end(api, task_id)["status"] == "completed"
    api.patch(f"{TASKS}/{task_id}/speakers", json={"SPEAKER_00": voice}).raise_for_status()
    wait_until(lambda: task_is_told(api, webhook["id"], task_id), 60)
    api.delete(f"{TASKS}/{fetched}").raise_for_status()
    words = words_of(api, task_id)
    assert len(words) > 5
    return {
        "key": keyed.token.rpartition("_")[2],
        "wrong key": "wrong-key",
        "prompt": prompt,
        "speaker's name": voice,
        "searched for": "grapnel",
        "webhook's address": "c9f1e2",
        "webhook's secret": webhook["secret"].removeprefix("whsec_"),
        "recording's address": "7be0d4",
        "upload's token": httpx.URL(opened["url"]).params["token"],
        "Redis' password": str(dotenv_values(keyed.stack.data_dir / "stack.env")["REDIS_PASSWORD"]),
        **{f"words {at}": " ".join(words[at : at + 3]) for at in range(len(words) - 2)},
    }


def task_is_told(api: httpx.Client, webhook_id: str, task_id: str) -> bool:
    """Whether a webhook was called, in vain, for the end of a task."""
    sent = api.get(f"/api/v1/webhooks/{webhook_id}/deliveries").json()["deliveries"]
    return any(one["task_id"] == task_id and one["attempts"] for one in sent)


def stored(stack: Stack) -> list[Path]:
    return sorted(path for path in (stack.data_dir / "objects").rglob("*") if path.is_file())


def upload_as(api: httpx.Client, name: str, content: bytes) -> str:
    """Upload under a name that is sent as it is, which no HTTP library does."""
    quoted = name.replace("\\", "\\\\").replace('"', '\\"').encode()
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="%s"\r\n\r\n' % quoted
    answer = api.post(
        f"{TASKS}/upload",
        content=head + content + b"\r\n--x--\r\n",
        headers={"Content-Type": "multipart/form-data; boundary=x"},
    )
    assert answer.status_code == 202, answer.text
    return answer.json()["id"]


def names_in(disposition: str) -> list[str]:
    """The names under which a browser may save an answer."""
    found = re.fullmatch(r"attachment; filename=\"([^\"]*)\"; filename\*=UTF-8''(\S*)", disposition)
    assert found, disposition
    return [found[1], unquote(found[2])]
