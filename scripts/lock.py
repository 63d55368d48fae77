"""Write requirements.txt: the newest versions that pyproject.toml allows, as pip resolves them.

pip and not uv, since torch comes for the processor here and for CUDA elsewhere: only its version
is pinned, not the CUDA packages that one of its builds asks for. `make lock`
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEADER = """\
# Every package that the two commands need, at the versions that were tested together.
# Made by `make lock` from the ranges in pyproject.toml; do not edit.
"""
# Parts of torch's CUDA build, which come or stay away with it.
NOT_PINNED = re.compile(r"^(nvidia-|cuda-|triton)")


def main() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = list(project["dependencies"])
    for extra in project["optional-dependencies"].values():
        wanted += extra
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = str(Path(folder) / "bin" / "python")
        pip = [python, "-m", "pip", "--disable-pip-version-check"]
        subprocess.run([*pip, "install", "--quiet", *wanted], check=True)  # noqa: S603
        frozen = subprocess.run(  # noqa: S603
            [*pip, "freeze"], check=True, capture_output=True, text=True
        ).stdout
    pins = [re.sub(r"\+\w+$", "", line) for line in frozen.splitlines()]
    pins = [pin for pin in pins if "==" in pin and not NOT_PINNED.match(pin)]
    (ROOT / "requirements.txt").write_text(HEADER + "".join(f"{pin}\n" for pin in sorted(pins)))
    print(f"pinned {len(pins)} packages", file=sys.stderr)


if __name__ == "__main__":
    main()
