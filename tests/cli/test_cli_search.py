"""`search` on the command line, against a real stack."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from internal.cli.search import search
from tests.api.support import wait_until
from tests.conftest import Stack, upload, wait_for_end

NAME = "for the command line.wav"


@pytest.fixture(scope="module")
def task(stack: Stack, short_wav: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict]:
    """A finished task that can be searched."""
    path = tmp_path_factory.mktemp("search") / NAME
    path.write_bytes(short_wav.read_bytes())
    with httpx.Client(base_url=stack.url, timeout=60) as api:
        task = upload(api, path).json()
        wait_for_end(api, task["id"])
        asked = {"q": "good morning", "task_id": task["id"]}
        wait_until(lambda: bool(api.get("/api/v1/search", params=asked).json()["hits"]), 30)
        yield api.get(f"/api/v1/tasks/{task['id']}/result").json()
        api.delete(f"/api/v1/tasks/{task['id']}").raise_for_status()


def test_it_prints_file_time_and_text(stack: Stack, task: dict) -> None:
    ran = stack.command("search", "morning", "good", "--file-name", "command line")
    first = task["segments"][0]
    name, line = ran.stdout.splitlines()
    assert name == NAME
    assert line == f"  [0:00:0{int(first['start'])}] {first['text']}"
    assert ran.stderr == ""


def run(stack: Stack, *arguments: str, colour: bool = False) -> str:
    """In this process: a new one for each would take a second."""
    ran = CliRunner().invoke(search, [*arguments, "--url", stack.url], color=colour)
    assert ran.exit_code == 0, ran.output
    return ran.output


def test_matches_are_marked_on_a_terminal(stack: Stack, task: dict) -> None:
    shown = run(stack, "good", "--file-name", NAME, colour=True)
    (marked,) = re.findall("\x1b\\[1m\x1b\\[4m(.*?)\x1b\\[0m", shown)
    assert marked == "Good"
    assert re.sub("\x1b\\[[0-9]+m", "", shown) == run(stack, "good", "--file-name", NAME)


def test_phrases(stack: Stack, task: dict) -> None:
    assert NAME in run(stack, '"good morning"', "--file-name", NAME)
    assert run(stack, '"morning good"', "--file-name", NAME) == "nothing found\n"


def test_more_than_asked_for(stack: Stack, task: dict) -> None:
    shown = run(stack, "the", "--file-name", NAME, "--limit", "1")
    assert shown.splitlines()[0] == NAME
    assert shown.endswith("there are more: --limit 2\n")
    assert len(run(stack, "the", "--file-name", NAME, "-n", "1000").splitlines()) > 2


def test_refusals_are_told(stack: Stack) -> None:
    ran = stack.command("search", "?!", check=False)
    assert ran.status == 1
    assert "There is nothing to search for" in ran.stderr
    assert "Traceback" not in ran.stderr
