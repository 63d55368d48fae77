"""Build whisper-cli from the whisper.cpp sources in pywhispercpp's source distribution.

PyPI is then the only thing that set-up needs: no git, no system cmake. Takes about 90 s on two
cores. `python scripts/build_whisper.py --out .tools/whisper-cli`
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from pathlib import Path

# pywhispercpp 1.5.1 carries whisper.cpp 1.8.5.
REQUIREMENT = (
    "pywhispercpp==1.5.1 "
    "--hash=sha256:5df897e5dd9d9f16804fc937bd85b9f5880a0b29a55f8843585e0e03d76195e5\n"
)
OPTIONS = [
    "-DCMAKE_BUILD_TYPE=Release",
    "-DBUILD_SHARED_LIBS=OFF",
    "-DWHISPER_BUILD_TESTS=OFF",
    "-DWHISPER_BUILD_SERVER=OFF",
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(".tools/whisper-cli"))
    parser.add_argument(
        "--portable", action="store_true", help="for any machine of this kind, not just this one"
    )
    arguments = parser.parse_args()
    print("building whisper.cpp (about two minutes, once)", file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        source = fetch_source(Path(folder))
        native = not arguments.portable
        built = build(source, Path(folder) / "build", "whisper-cli", native=native)
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        # Moved into place in one step: a build that was broken off is begun again.
        partial = arguments.out.with_suffix(".partial")
        shutil.copy2(built, partial)
        partial.replace(arguments.out)
    print(f"built {arguments.out}", file=sys.stderr)


def fetch_source(folder: Path) -> Path:
    """Download and unpack the sources; pip checks the hash."""
    requirements = folder / "requirements.txt"
    requirements.write_text(REQUIREMENT)
    run(
        [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
         "--no-deps", "--no-binary", "pywhispercpp", "--require-hashes",
         "--dest", str(folder), "-r", str(requirements)]
    )  # fmt: skip
    archive = next(folder.glob("pywhispercpp-*.tar.gz"))
    with tarfile.open(archive) as tar:
        tar.extractall(folder)  # noqa: S202 - pip has checked its hash # nosec B202
    return next(folder.glob("pywhispercpp-*/whisper.cpp"))


def build(source: Path, folder: Path, program: str, *, native: bool = True) -> Path:
    """Compile one of whisper.cpp's programs in a folder and return its path."""
    cmake = find_cmake()
    processor = f"-DGGML_NATIVE={'ON' if native else 'OFF'}"
    run([cmake, "-S", str(source), "-B", str(folder), *OPTIONS, processor])
    jobs = str(os.cpu_count() or 1)
    run([cmake, "--build", str(folder), "--target", program, "--parallel", jobs])
    return folder / "bin" / program


def find_cmake() -> str:
    """Return the cmake of the wheel, else the system's."""
    in_wheel = Path(sysconfig.get_path("scripts")) / "cmake"
    found = str(in_wheel) if in_wheel.exists() else shutil.which("cmake")
    if found is None:
        raise SystemExit("cmake is missing: pip install cmake")
    return found


def run(argv: list[str]) -> None:
    """Run a command; show its output only if it fails."""
    ran = subprocess.run(argv, capture_output=True, text=True, check=False)  # noqa: S603
    if ran.returncode != 0:
        print(ran.stdout[-4000:], ran.stderr[-4000:], file=sys.stderr)
        raise SystemExit(f"failed: {' '.join(argv)}")


if __name__ == "__main__":
    main()
