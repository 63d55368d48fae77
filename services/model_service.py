"""Speech models: which are installed, where they are, and fetching them from Hugging Face."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx

from core.errors import AppError, InvalidInput, Misconfigured, TransientError
from core.logger import logged_operation

# Models that can be fetched, with their SHA-1 (whisper.cpp `models/README.md`).
CATALOGUE = {
    "tiny": "bd577a113a864445d4c299885e0cb97d4ba92b5f",
    "tiny.en": "c78c86eb1a8faa21b369bcd33207cc90d64ae9df",
    "base": "465707469ff3a37a2b9b8d8f89f2f99de7299dac",
    "base.en": "137c40403d78fd54d454da0f9bd998f78703390c",
    "small": "55356645c2b361a969dfd0ef2c5a50d530afd8d5",
    "small.en": "db8a495a91d927739e50b3fc1cc4c6b8f6c2d022",
    "medium": "fd9727b6e1217c2f614f9b698455c4ffd82463b4",
    "medium.en": "8c30f0e44ce9560643ebd10bbe50cd20eafd3723",
    "large-v2": "0f4c8e34f21cf1a914c59d8b3ce882345ad349d6",
    "large-v2-q5_0": "00e39f2196344e901b3a2bd5814807a769bd1630",
    "large-v3": "ad82bf6a9043ceed055076d0fd39f5f186ff8062",
    "large-v3-q5_0": "e6e2ed78495d403bef4b7cff42ef4aaadcfea8de",
    "large-v3-turbo": "4af2b29d7ec73d781377bfd1758ca957a807e941",
    "large-v3-turbo-q5_0": "e050f7970618a659205450ad97eb95a18d69c9ee",
}

DEMO_MODEL = "demo-en"
_DEMO_FOLDER = "demo"
_GGML_MAGIC = 0x67676D6C
_ENGLISH_VOCABULARY = 51864  # tokens of Whisper's English models; multilingual ones have more
_BLOCK_BYTES = 1 << 20

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class SpeechModel:
    """An installed model.

    Attributes:
        name: What clients call it.
        path: Its ggml file.
        size_bytes: Of the file.
        english_only: Whether it knows English alone.
    """

    name: str
    path: Path
    size_bytes: int
    english_only: bool


class ModelService:
    """Models in a folder, as `ggml-<name>.bin`; the demo model in `demo/` below it."""

    def __init__(self, folder: Path, url: str) -> None:
        self._folder = folder
        self._url = url.rstrip("/")

    def installed(self) -> list[SpeechModel]:
        """Return the usable models, ordered by name; files that are not models are left out."""
        files = [*self._folder.glob("ggml-*.bin"), *self._folder.glob(f"{_DEMO_FOLDER}/ggml-*.bin")]
        models = [model for path in files if (model := _read_model(path)) is not None]
        return sorted(models, key=lambda model: model.name)

    def get(self, name: str) -> SpeechModel:
        """Return an installed model.

        Raises:
            InvalidInput: It is not installed; the message lists what is (code `unknown_model`).
        """
        installed = self.installed()
        for model in installed:
            if model.name == name:
                return model
        names = ", ".join(model.name for model in installed) or "none"
        hint = f" Its operator can run `python main.py models pull {name}`."
        raise InvalidInput(
            f"The model {name!r} is not installed on this server. Installed: {names}."
            + (hint if name in CATALOGUE else ""),
            code="unknown_model",
            installed=[model.name for model in installed],
        )

    def path_of(self, name: str) -> Path:
        """Return where a model's file belongs, installed or not."""
        folder = self._folder / _DEMO_FOLDER if name == DEMO_MODEL else self._folder
        return folder / f"ggml-{name}.bin"

    def pull(self, name: str, on_progress: Progress | None = None) -> Path:
        """Fetch a model, continuing an earlier broken download, and check it.

        Args:
            name: One of `CATALOGUE`.
            on_progress: Called with bytes so far and bytes in all (0 where unknown).

        Returns:
            The model's file. One that is already there is not fetched again.

        Raises:
            InvalidInput: No such model.
            TransientError: The download broke off; the next call continues it.
            Misconfigured: What was fetched has the wrong checksum; it is removed.
        """
        if name not in CATALOGUE:
            raise InvalidInput(
                f"There is no model {name!r} to fetch. Known: {', '.join(CATALOGUE)}.",
                code="unknown_model",
            )
        target = self.path_of(name)
        if target.exists():
            return target
        partial = target.with_suffix(".part")
        target.parent.mkdir(parents=True, exist_ok=True)
        with logged_operation("fetch model", translate=_translate_download_error, model=name):
            self._download(f"{self._url}/ggml-{name}.bin", partial, on_progress)
            if _sha1(partial) != CATALOGUE[name]:
                partial.unlink()
                raise Misconfigured(
                    f"The model fetched from {self._url} is not the one expected (its checksum "
                    "differs). It was removed; try again or check MODELS_URL.",
                    code="checksum_mismatch",
                )
            partial.replace(target)
        return target

    def _download(self, url: str, partial: Path, on_progress: Progress | None) -> None:
        done = partial.stat().st_size if partial.exists() else 0
        headers = {"Range": f"bytes={done}-"} if done else {}
        timeout = httpx.Timeout(30, read=60)
        with httpx.stream(
            "GET", url, headers=headers, follow_redirects=True, timeout=timeout
        ) as response:
            if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                return  # it was complete; the checksum decides
            response.raise_for_status()
            if response.status_code != httpx.codes.PARTIAL_CONTENT:
                done = 0
            total = done + int(response.headers.get("Content-Length", 0))
            with partial.open("ab" if done else "wb") as out:
                for block in response.iter_bytes(_BLOCK_BYTES):
                    out.write(block)
                    done += len(block)
                    if on_progress is not None:
                        on_progress(done, total)


def _translate_download_error(error: Exception) -> AppError | None:
    match error:
        case httpx.HTTPStatusError():
            status = error.response.status_code
            return Misconfigured(
                f"{error.request.url} answered {status}. Check MODELS_URL.", code="download_refused"
            )
        case httpx.HTTPError():
            return TransientError(
                f"Fetching the model broke off ({type(error).__name__}). "
                "Run the same command again to continue.",
                code="download_interrupted",
            )
        case OSError():
            return Misconfigured(f"The model cannot be written: {error.strerror}.")
        case _:
            return None


def _read_model(path: Path) -> SpeechModel | None:
    """Read a ggml file's header; None if it is not one."""
    try:
        with path.open("rb") as file:
            magic, vocabulary = struct.unpack("<Ii", file.read(8))
        size = path.stat().st_size
    except (OSError, struct.error):
        return None
    if magic != _GGML_MAGIC:
        return None
    name = path.name.removeprefix("ggml-").removesuffix(".bin")
    return SpeechModel(name, path, size, english_only=vocabulary <= _ENGLISH_VOCABULARY)


def _sha1(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.sha1(usedforsecurity=False)).hexdigest()
