"""Many recordings at once, folders, addresses and a watched folder, against a real stack."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner, Result

from internal.cli.batch import Item, Workers
from internal.cli.client import ApiClient
from internal.cli.following import Order
from internal.cli.transcribe import transcribe
from tests.api.support import wait_until
from tests.conftest import ROOT, SAMPLE, Stack
from tests.remote import Request, a_remote, plainly

GOOD = "Good morning everyone.\nThanks for joining.\n"
# The waits of a watched folder, shortened.
WATCH = (
    "import sys, main, internal.cli.watch as watch; "
    "watch._SETTLED_SECONDS, watch._LOOK_SECONDS = 0.6, 0.1; main.main()"
)


@pytest.fixture
def run(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run `transcribe` in this process."""
    for name in ("API_KEY", "API_PORT", "DATA_DIR"):
        monkeypatch.delenv(name, raising=False)

    def invoke(*arguments: object) -> Result:
        ran = CliRunner().invoke(transcribe, [*map(str, arguments), "--url", stack.url])
        assert ran.exception is None or isinstance(ran.exception, SystemExit), ran.exception
        return ran

    return invoke


@pytest.fixture
def folder(short_wav: Path, tmp_path: Path) -> Path:
    """Two recordings of the same name, and what is none."""
    found = tmp_path / "in"
    for name in ("monday/talk.wav", "tuesday/talk.wav"):
        (found / name).parent.mkdir(parents=True)
        shutil.copy(short_wav, found / name)
    (found / "notes.txt").write_text("no recording")
    return found


def written(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".wav"
    }


def test_a_folder(run: Callable[..., Result], folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"

    ran = run(folder, "--out", out)

    assert (ran.exit_code, ran.stdout) == (0, "")
    texts = written(out)
    assert set(texts) == {"monday/talk.txt", "tuesday/talk.txt"}
    assert all(text.startswith(GOOD) for text in texts.values())
    assert "2 of 2 transcribed" in ran.stderr
    assert ran.stderr.count("demo model") == 1


def test_the_same_name_in_different_folders(
    run: Callable[..., Result], folder: Path, tmp_path: Path
) -> None:
    days = [folder / day / "talk.wav" for day in ("monday", "tuesday")]
    ran = run(*days, "-o", tmp_path / "out", "-f", "json", "--parallel", 1)
    assert ran.exit_code == 0
    texts = {name: json.loads(text) for name, text in written(tmp_path / "out").items()}
    assert set(texts) == {"monday/talk.json", "tuesday/talk.json"}
    assert len({text["job_id"] for text in texts.values()}) == 2


def test_standard_output_has_the_order_of_the_arguments(
    run: Callable[..., Result], api: httpx.Client, short_wav: Path
) -> None:
    """The first comes only after the second is done."""
    content = short_wav.read_bytes()

    def second_is_done() -> bool:
        tasks = api.get("/api/v1/tasks", params={"status": "completed"}).json()["tasks"]
        return any(task["file_name"] == "early.wav" for task in tasks)

    def wait_and_answer(request: Request) -> None:
        wait_until(second_is_done, 60)
        request.answer(content)

    with a_remote() as remote:
        first = remote.serve("/late.wav", wait_and_answer)
        second = remote.serve("/early.wav", plainly(content))
        ran = run("--from-url", first, "--from-url", second, "-f", "json")

    assert ran.exit_code == 0, ran.stderr
    ids = [transcript["job_id"] for transcript in _documents(ran.stdout)]
    names = [api.get(f"/api/v1/tasks/{task_id}").json()["file_name"] for task_id in ids]
    assert names == ["late.wav", "early.wav"]


def _documents(text: str) -> list[dict]:
    """The JSON documents that stand one after another in a text."""
    found = []
    while text := text.strip():
        document, end = json.JSONDecoder().raw_decode(text)
        found.append(document)
        text = text[end:]
    return found


def test_failures_are_named_at_the_end(
    run: Callable[..., Result], short_wav: Path, tmp_path: Path
) -> None:
    bad = [tmp_path / name for name in ("a.mp3", "b.mp3")]
    for path in bad:
        path.write_text("no recording")

    ran = run(bad[0], short_wav, bad[1], "-o", tmp_path / "out")

    assert ran.exit_code == 1
    assert set(written(tmp_path / "out")) == {"short.txt"}
    assert f"{bad[0]}: The file is not a recording" in ran.stderr
    end = ran.stderr[ran.stderr.index("1 of 3 transcribed") :]
    assert all(f"failed: {path}" in end for path in bad)


def test_addresses(run: Callable[..., Result], short_wav: Path, tmp_path: Path) -> None:
    with a_remote() as remote:
        urls = [
            remote.serve(f"/{day}/talk.wav", plainly(short_wav.read_bytes())) + "?key=SECRET"
            for day in (1, 2)
        ]
        one = run("--from-url", urls[0], "--language", "en", "--keep-hours", "2")
        both = run("--from-url", urls[0], "--from-url", urls[1], "-o", tmp_path / "out")
    assert (one.exit_code, both.exit_code) == (0, 0), one.stderr + both.stderr
    assert one.stdout.startswith(GOOD)
    assert set(written(tmp_path / "out")) == {"talk.txt", "talk-2.txt"}
    assert "SECRET" not in one.stderr + both.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--from-url", "talk.mp3"],
        ["--from-url", "ftp://example.org/talk.mp3"],
        ["--from-url", "http://x:y/talk.mp3"],
        ["--watch", ".", "README.md"],
        ["--parallel", "0", "README.md"],
        ["tests/golden"],
    ],
)
def test_what_makes_no_sense(run: Callable[..., Result], arguments: list[str]) -> None:
    ran = run(*arguments)
    assert (ran.exit_code, ran.stdout) == (2, "")


def start(stack: Stack, *arguments: object, script: str | None = None) -> subprocess.Popen:
    """Start the command line; with a script in place of `main.py`."""
    program = ["-c", script] if script else [str(ROOT / "main.py")]
    return subprocess.Popen(
        [sys.executable, *program, "transcribe", *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=stack.environment, cwd=ROOT,
    )  # fmt: skip


def finish(process: subprocess.Popen) -> tuple[str, str]:
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert b"Traceback" not in err, err.decode()
    return out.decode(), err.decode()


def test_ctrl_c_in_a_batch(stack: Stack, api: httpx.Client, tmp_path: Path) -> None:
    """With --no-keep, nothing is left at the server."""

    def mine() -> list[dict]:
        tasks = api.get("/api/v1/tasks").json()["tasks"]
        return [task for task in tasks if task["file_name"].startswith("interrupted")]

    for number in range(3):
        shutil.copy(SAMPLE, tmp_path / f"interrupted-{number}.wav")
    process = start(stack, tmp_path, "--no-keep")
    wait_until(lambda: len(mine()) == 2, 60)
    wait_until(lambda: any(task["status"] == "processing" for task in mine()), 60)

    out, err = finish(process)

    assert (process.returncode, out) == (1, "")
    assert err.count("cancelled and removed") == 2
    assert mine() == []


def test_those_who_are_left_begin_nothing_else(
    stack: Stack, api: httpx.Client, short_wav: Path, tmp_path: Path
) -> None:
    def names() -> list[str]:
        return [task["file_name"] for task in api.get("/api/v1/tasks").json()["tasks"]]

    def threads() -> set[threading.Thread]:
        return set(threading.enumerate())

    before = threads()
    paths = [tmp_path / f"left-{number}.wav" for number in range(2)]
    with ApiClient(stack.url) as client:
        workers = Workers(client, Order("txt", keep=False), parallel=1)
        for path in paths:
            shutil.copy(short_wav, path)
            workers.add(Item(path, None))
        wait_until(lambda: paths[0].name in names())

        workers.leave()

        assert workers.next_outcome(30) is not None
        wait_until(lambda: "transcribing" not in {each.name for each in threads() - before})
    assert paths[1].name not in names()


def test_a_watched_folder(stack: Stack, short_wav: Path, tmp_path: Path) -> None:
    watched = tmp_path / "in"
    (watched / "deep").mkdir(parents=True)
    shutil.copy(short_wav, watched / "there.wav")
    shutil.copy(short_wav, watched / "done.wav")
    (watched / "done.txt").write_text("as it was")
    (watched / "bad.mp3").write_text("no recording")
    process = start(stack, "--watch", watched, script=WATCH)
    wait_until(lambda: (watched / "there.txt").exists(), 60)

    # One that is still being written is left alone until it is whole.
    content, slow = short_wav.read_bytes(), watched / "deep" / "slow.wav"
    with slow.open("wb") as file:
        for at in range(0, len(content), len(content) // 8 + 1):
            file.write(content[at : at + len(content) // 8 + 1])
            file.flush()
            os.fsync(file.fileno())
            time.sleep(0.25)
    wait_until(lambda: (watched / "deep" / "slow.txt").exists(), 60)
    out, err = finish(process)

    assert (process.returncode, out) == (1, "")
    texts = written(watched)
    assert texts["done.txt"] == "as it was"
    assert texts["there.txt"].startswith(GOOD)
    assert texts["deep/slow.txt"] == texts["there.txt"]
    assert set(texts) == {"there.txt", "done.txt", "deep/slow.txt", "bad.mp3"}
    assert err.count("bad.mp3: transcribing") == 1
    assert "done.wav" not in err
    assert err.count("slow.wav: transcribing") == 1
    assert "stopped: 2 transcribed, 1 failed" in err


def test_a_watched_folder_goes_on_where_it_was_left(
    stack: Stack, short_wav: Path, tmp_path: Path
) -> None:
    watched, out = tmp_path / "in", tmp_path / "out"
    watched.mkdir()
    shutil.copy(short_wav, watched / "a.wav")
    for name in ("a", "b"):
        shutil.copy(short_wav, watched / f"{name}.wav")
        process = start(stack, "--watch", watched, "-o", out, "-f", "srt", script=WATCH)
        wait_until(lambda: (out / f"{name}.srt").exists(), 60)  # noqa: B023
        _, err = finish(process)
        assert process.returncode == 0, err
        assert "stopped: 1 transcribed, 0 failed" in err
    assert set(written(out)) == {"a.srt", "b.srt"}
    assert written(watched) == {}
