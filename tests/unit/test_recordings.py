"""Which files `transcribe` takes, and how it calls their transcripts."""

from __future__ import annotations

from pathlib import Path

import pytest

from internal.cli.recordings import find_recordings


@pytest.fixture
def make(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def files(*names: str) -> None:
        for name in names:
            path = Path(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("x")

    return files


def places(*paths: str) -> dict[str, str]:
    found = find_recordings([Path(path) for path in paths])
    return {str(recording.path): recording.place for recording in found}


def test_files_are_taken_as_they_are_named(make):
    make("b.mp3", "talks/a.wav", "notes.bin")
    assert places("b.mp3", "talks/a.wav", "notes.bin") == {
        "b.mp3": "b", "talks/a.wav": "a", "notes.bin": "notes",
    }  # fmt: skip


def test_folders_are_gone_through(make):
    make("in/b.MP3", "in/deep/er/a.opus", "in/notes.txt", "in/.hidden.mp3", "in/.git/a.wav")
    make("in/c.mp3.part", "in/video.mkv/d.webm")
    assert places("in") == {
        "in/b.MP3": "b", "in/deep/er/a.opus": "deep/er/a", "in/video.mkv/d.webm": "video.mkv/d",
    }  # fmt: skip


def test_names_with_dots(make):
    make("2024.05.01 board.mp3")
    assert places("2024.05.01 board.mp3") == {"2024.05.01 board.mp3": "2024.05.01 board"}


def test_the_same_name_in_different_folders(make):
    make("x/a.mp3", "y/a.mp3", "y/b.mp3")
    assert places("x/a.mp3", "y/a.mp3", "y/b.mp3") == {
        "x/a.mp3": "x/a", "y/a.mp3": "y/a", "y/b.mp3": "b",
    }  # fmt: skip
    assert places("x", "y") == {"x/a.mp3": "x/a", "y/a.mp3": "y/a", "y/b.mp3": "b"}


def test_the_same_name_in_one_folder(make):
    make("in/a.mp3", "in/a.wav", "in/b.wav")
    assert places("in") == {"in/a.mp3": "a.mp3", "in/a.wav": "a.wav", "in/b.wav": "b"}


def test_a_name_that_is_longer_elsewhere(make):
    make("x/a.mp3", "y/a.mp3", "in/x/a.mp3")
    found = places("x/a.mp3", "y/a.mp3", "in")
    assert len(set(found.values())) == 3


def test_each_file_once(make):
    make("in/a.mp3")
    Path("link.mp3").symlink_to("in/a.mp3")
    assert places("in/a.mp3", "in", "link.mp3", "./in/../in/a.mp3") == {"in/a.mp3": "a"}


def test_nothing(make):
    make("in/notes.txt")
    assert places("in") == {}
