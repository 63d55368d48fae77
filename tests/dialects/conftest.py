"""A backend with two speech models, and one that nothing can be done with."""

from __future__ import annotations

import struct
import wave
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from openai import OpenAI

from tests.api.support import api_process
from tests.conftest import ROOT, SAMPLE, Stack, own_stack, write_wav
from tests.german_model import write_german_model

RATE = 16000


@pytest.fixture(scope="package")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack that takes over transcripts: of most recordings, several formats are asked for."""
    models = tmp_path_factory.mktemp("models")
    (models / "demo").symlink_to(ROOT / "models" / "demo", target_is_directory=True)
    write_german_model(models / "ggml-german.bin")
    # It looks like a model until somebody loads it.
    (models / "ggml-broken.bin").write_bytes(struct.pack("<2i", 0x67676D6C, 51864) + b"\0" * 1000)
    settings = {"MODELS_DIR": str(models), "REUSE_TRANSCRIPTS": "true"}
    with own_stack(tmp_path_factory, "dialects", **settings) as stack:
        yield stack


@pytest.fixture(scope="package")
def polyglot(backend: Stack) -> Iterator[httpx.Client]:
    """The same, with the German model as its default; one request of an owner may wait."""
    settings = {"WHISPER_MODEL": "german", "MAX_WAITING_REQUESTS": "1"}
    with api_process(backend.environment, **settings) as client:
        yield client


@pytest.fixture
def http(backend: Stack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=backend.url, timeout=120) as client:
        yield client


@pytest.fixture
def client(backend: Stack) -> Iterator[OpenAI]:
    """The `openai` package as it is, told no more than where to go."""
    with OpenAI(base_url=f"{backend.url}/v1", api_key="any") as client:
        yield client


@pytest.fixture(scope="session")
def cut(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Makes a recording of its own out of a stretch of the sample."""
    folder = tmp_path_factory.mktemp("cuts")

    def make(name: str, start: float, end: float) -> Path:
        with wave.open(str(SAMPLE)) as source:
            source.setpos(round(start * RATE))
            frames = source.readframes(round((end - start) * RATE))
        # The last samples tell recordings of the same stretch apart; they cannot be heard.
        mark = np.frombuffer(name.encode(), np.uint8) % 32
        write_wav(folder / f"{name}.wav", np.append(np.frombuffer(frames, "<i2"), mark))
        return folder / f"{name}.wav"

    return make


@pytest.fixture(scope="session")
def speech(cut: Callable[..., Path]) -> Path:
    """Three sentences of one speaker."""
    return cut("speech", 0, 6.5)


@pytest.fixture(scope="session")
def talk(cut: Callable[..., Path]) -> Path:
    """Two speakers, one after the other."""
    return cut("talk", 0, 22)


@pytest.fixture(scope="session")
def silence(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("silence") / "silence.wav"
    write_wav(path, np.zeros(3 * RATE))
    return path
