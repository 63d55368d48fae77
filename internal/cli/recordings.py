"""Which files are to be transcribed, and under which names their transcripts are written. Pure."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

# What is taken out of folders; a file that is named is taken whatever it is called.
SUFFIXES = frozenset(
    ".3gp .aac .aif .aiff .amr .asf .flac .m4a .m4b .m4v .mka .mkv .mov .mp3 .mp4 .oga .ogg .opus "
    ".wav .webm .wma .wmv".split()
)


@dataclass(frozen=True)
class Recording:
    """A file to be transcribed.

    Attributes:
        path: Of the file.
        place: Of its transcript below the folder for output, without the format's suffix. No other
            recording's is the same.
    """

    path: Path
    place: str


def find_recordings(paths: Sequence[Path]) -> list[Recording]:
    """Return the files named and those in the folders named, at any depth, each once.

    A transcript is called as its recording, in the same folder below the one that was named. Where
    that would give two the same name, the names of more folders or suffixes are kept.
    """
    found: dict[Path, tuple[Path, Path]] = {}
    for path in paths:
        for file, below in _files(path):
            found.setdefault(file.resolve(), (file, below))
    shared = Path(os.path.commonpath([real.parent for real in found])) if found else Path()
    # From the shortest name to one that is surely its file's own.
    names = {}
    for real, (_, below) in found.items():
        whole = real.relative_to(shared)
        names[real] = [_stem(below), _stem(whole), whole.as_posix()]
    places = _distinct(names)
    return [Recording(file, places[real]) for real, (file, _) in found.items()]


def _files(path: Path) -> Iterator[tuple[Path, Path]]:
    """Yield files with their names below what was named."""
    if not path.is_dir():
        yield path, Path(path.name)
        return
    for file in sorted(path.rglob("*")):
        below = file.relative_to(path)
        is_hidden = any(part.startswith(".") for part in below.parts)
        if file.suffix.lower() in SUFFIXES and not is_hidden and file.is_file():
            yield file, below


def _distinct(names: dict[Path, list[str]]) -> dict[Path, str]:
    """Return for each file the first of its names that no other one may want, too."""
    places: dict[Path, str] = {}
    level = 0
    while left := [file for file in names if file not in places]:
        wanted = Counter(names[file][level] for file in left)
        for file in left:
            name = names[file][level]
            if level == 2 or (wanted[name] == 1 and name not in places.values()):
                places[file] = name
        level += 1
    return places


def _stem(name: Path) -> str:
    return name.with_suffix("").as_posix()
