"""What more than one of the tests of the whole stack needs beside it."""

from collections.abc import Iterator

import pytest

from tests.conftest import Stack, own_stack


@pytest.fixture(scope="session")
def second(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Another embedded stack beside the first, whose diarization pipeline is nowhere.

    It has one consumer and takes recordings of up to fifteen seconds.
    """
    settings = {
        "CONSUMER_CONCURRENCY": "1",
        "DIARIZATION_PIPELINE": str(tmp_path_factory.getbasetemp() / "nowhere"),
        "MAX_DURATION_SECONDS": "15",
        "ALLOWED_NETWORKS": '["127.0.0.0/8"]',
    }
    with own_stack(tmp_path_factory, "second stack 100%", **settings) as backend:
        yield backend
