"""Speakers on the command line: it holds with and without a diarization pipeline."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from internal.cli.transcribe import transcribe
from tests.conftest import Stack

OPTIONS = ["--diarize", "--num-speakers", "--min-speakers", "--max-speakers"]


def test_help_lists_the_options(stack: Stack) -> None:
    listed = stack.command("transcribe", "--help").stdout
    assert [option for option in OPTIONS if f"\n  {option} " in listed] == OPTIONS


@pytest.mark.parametrize("option", OPTIONS[1:])
def test_impossible_numbers_are_refused_here(stack: Stack, short_wav: Path, option: str) -> None:
    ran = stack.command("transcribe", str(short_wav), "--diarize", f"{option}=0", check=False)
    assert ran.status == 2
    assert option in ran.stderr
    assert "uploading" not in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize("option", OPTIONS[1:])
@pytest.mark.parametrize("value", ["-1", "51", "three", "2.5"])
def test_other_impossible_numbers(short_wav: Path, option: str, value: str) -> None:
    """In this process: a new one for each would take a second."""
    ran = CliRunner().invoke(transcribe, [str(short_wav), "--diarize", f"{option}={value}"])
    assert ran.exit_code == 2
    assert option in ran.stderr
    assert "uploading" not in ran.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--num-speakers", "2"], "diarize"),
        (["--diarize", "--num-speakers", "2", "--min-speakers", "2"], "either num_speakers"),
        (["--diarize", "--num-speakers", "2", "--max-speakers", "2"], "either num_speakers"),
        (["--diarize", "--min-speakers", "3", "--max-speakers", "2"], "min_speakers (3)"),
    ],
)
def test_numbers_that_contradict_are_refused_by_the_server(
    stack: Stack, short_wav: Path, options: list[str], message: str
) -> None:
    ran = stack.command("transcribe", str(short_wav), *options, check=False)
    assert ran.status == 1
    assert ran.stdout == ""
    assert message in ran.stderr
    assert "(invalid_speakers)" in ran.stderr


def test_a_transcript_comes_with_speakers_or_with_a_note(stack: Stack, short_wav: Path) -> None:
    ran = stack.command("transcribe", str(short_wav), "--diarize", "--max-speakers", "3")
    labels = re.findall("^(Speaker [0-9]+): ", ran.stdout, re.MULTILINE)
    assert bool(labels) != ("note: There are no speaker labels: " in ran.stderr)
    spoken = re.sub("^Speaker [0-9]+: ", "", ran.stdout, flags=re.MULTILINE)
    plain = stack.command("transcribe", str(short_wav)).stdout
    assert spoken.split() == plain.split()
    assert "note: There are no speaker labels" not in plain


def line_about_speakers(output: str) -> str:
    (line,) = (line for line in output.splitlines() if line.split()[1] == "speakers")
    return line


def test_doctor_looks_at_speakers(stack: Stack) -> None:
    line = line_about_speakers(stack.command("doctor").stdout)
    assert line.split()[0] in ("ok", "--")
    assert ("pyannote.audio 4" in line) == line.startswith("ok")


@pytest.mark.parametrize("pipeline", ["none", "a folder/with no/pipeline"])
def test_doctor_is_content_without_speakers(stack: Stack, tmp_path: Path, pipeline: str) -> None:
    missing = str(tmp_path / pipeline)
    ran = stack.command("doctor", DIARIZATION_PIPELINE=missing)
    line = line_about_speakers(ran.stdout)
    assert line.startswith("-- ")
    assert "DIARIZATION_PIPELINE" in line
    assert "FAIL" not in ran.stdout


def test_status_shows_who_serves_the_queue(stack: Stack) -> None:
    lines = [line.split() for line in stack.command("status").stdout.splitlines()]
    (queue,) = (words for words in lines if words[:1] == ["diarization:"])
    assert queue[-2:] == ["1", "consumers"]
