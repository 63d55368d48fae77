"""Choosing how embeddings are clustered: every setting of a grid, on voices made new.

Segmentation and embedding are computed once for each recording; only what follows is repeated.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import yaml

from demo_models.conversations import Cast, Manner, converse
from demo_models.evaluation import Recording, error_rates
from worker.pipeline_source import CONFIG_NAME, load_pipeline

CONVERSATIONS = 16
# Played so much faster or slower, a voice of the training is one that was not in it. With voices
# that were, every setting does well, and the best of them splits strangers in two.
_WARP = (0.8, 1.25)

_AGGLOMERATIVE: dict[str, list[Any]] = {
    "method": ["centroid", "average"],
    "threshold": [0.5, 0.6, 0.7, 0.8, 0.9, 1.0],
    "min_cluster_size": [2, 4, 8],
}
_VBX: dict[str, list[Any]] = {
    "threshold": [0.6, 0.8],
    "Fa": [0.05, 0.1, 0.2, 0.4],
    "Fb": [0.5, 1.0, 2.0, 4.0],
}
GRIDS = {"AgglomerativeClustering": _AGGLOMERATIVE, "VBxClustering": _VBX}


def write_config(folder: Path, clustering: str, parameters: dict[str, Any]) -> None:
    """Write the `config.yaml` that pyannote loads the pipeline from."""
    config = {
        "dependencies": {"pyannote.audio": "4.0.0"},
        "pipeline": {
            "name": "pyannote.audio.pipelines.SpeakerDiarization",
            "params": {
                "segmentation": "$model/segmentation",
                "embedding": "$model/embedding",
                "embedding_exclude_overlap": True,
                "plda": "$model/plda",
                "clustering": clustering,
            },
        },
        "params": {"clustering": parameters, "segmentation": {"min_duration_off": 0.0}},
    }
    (folder / CONFIG_NAME).write_text(yaml.safe_dump(config, sort_keys=False))


def tune(
    folder: Path, casts: list[Cast], step: float
) -> Iterator[tuple[str, dict[str, Any], float]]:
    """Yield every clustering and its parameters with the mean error rate over the recordings.

    Args:
        folder: Of the pipeline; its `config.yaml` is written over and over.
        casts: Whose voices talk in the recordings, each cast in its share of them.
        step: Of the window, as a share of its length.
    """
    recordings = list(_conversations(casts))
    for clustering, grid in GRIDS.items():
        first = {name: values[0] for name, values in grid.items()}
        write_config(folder, clustering, first)
        pipeline = load_pipeline(str(folder), None)
        pipeline._segmentation.step = step * pipeline._segmentation.duration
        _remember(pipeline)
        for values in itertools.product(*grid.values()):
            parameters = dict(zip(grid, values, strict=True))
            pipeline.instantiate(
                {"clustering": parameters, "segmentation": {"min_duration_off": 0.0}}
            )
            rates = error_rates(pipeline, recordings, told=False)
            yield clustering, parameters, rates[0.25]


def _conversations(casts: list[Cast]) -> Iterator[Recording]:
    chance = Random(21)
    for number in range(CONVERSATIONS):
        cast = casts[number % len(casts)]
        count = chance.choice([1, 2, 2, 3, 3, 4])
        speakers = chance.sample(cast.speakers, count)
        seconds = chance.uniform(40, 90)
        samples, turns = converse(cast, speakers, seconds, chance, Manner(0.08), _WARP)
        yield Recording(f"tuning-{number}", samples, turns)


def _remember(pipeline: Any) -> None:
    """Have segmentations and embeddings computed once for each recording."""
    for name in ("get_segmentations", "get_embeddings"):
        setattr(pipeline, name, _Remembered(getattr(pipeline, name)))


class _Remembered:
    """A method whose result is kept for each recording, by its name."""

    def __init__(self, method: Any) -> None:
        self._method = method
        self._kept: dict[str, Any] = {}

    def __call__(self, file: Any, *arguments: Any, **options: Any) -> Any:
        if file["uri"] not in self._kept:
            self._kept[file["uri"]] = self._method(file, *arguments, **options)
        kept = self._kept[file["uri"]]
        return kept.copy() if hasattr(kept, "copy") else kept
