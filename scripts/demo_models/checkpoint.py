"""Writing models so that pyannote.audio's own loader reads them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from worker.pyannote_import import import_pyannote

CHECKPOINT_NAME = "pytorch_model.bin"


def save_checkpoint(model: Any, path: Path) -> None:
    """Write a pyannote model's weights, in half precision, with what is needed to rebuild it.

    Args:
        model: A `pyannote.audio.Model` whose `specifications` are set.
        path: The folder that gets `pytorch_model.bin`.
    """
    pyannote = import_pyannote()
    import lightning

    weights = {
        name: tensor.half() if tensor.is_floating_point() else tensor
        for name, tensor in model.state_dict().items()
    }
    architecture = {"module": type(model).__module__, "class": type(model).__name__}
    content = {
        "state_dict": weights,
        "hyper_parameters": dict(model.hparams),
        "pytorch-lightning_version": lightning.__version__,
        "pyannote.audio": {
            "versions": {"torch": torch.__version__, "pyannote.audio": pyannote.__version__},
            "architecture": architecture,
            "specifications": model.specifications,
        },
    }
    path.mkdir(parents=True, exist_ok=True)
    torch.save(content, path / CHECKPOINT_NAME)


def load_weights(model: Any, path: Path) -> None:
    """Give a model the weights that `save_checkpoint` wrote into a folder."""
    content = torch.load(path / CHECKPOINT_NAME, weights_only=False)
    model.load_state_dict(content["state_dict"])


def set_window(path: Path, seconds: float) -> None:
    """Have the pipeline give a trained segmentation windows of another length."""
    import_pyannote()
    content = torch.load(path / CHECKPOINT_NAME, weights_only=False)
    described = content["pyannote.audio"]
    described["specifications"] = replace(described["specifications"], duration=seconds)
    torch.save(content, path / CHECKPOINT_NAME)
