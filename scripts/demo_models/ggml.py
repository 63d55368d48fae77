"""From a checkpoint to a file that whisper.cpp reads, by whisper.cpp's own converter and quantizer.

Both come with the sources that whisper-cli is built from.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from build_whisper import build, fetch_source, run

QUANTIZATION = "q5_0"


def write_ggml(checkpoint: Path, assets: Path, out: Path) -> None:
    """Convert a checkpoint and quantize it; builds the quantizer, which takes two minutes.

    Args:
        checkpoint: A file laid out as OpenAI's, with `dims` and a `model_state_dict` in half
            precision.
        assets: The folder `whisper/assets` of openai-whisper: vocabulary and mel filters, which
            become part of the file.
        out: The file to write.
    """
    with tempfile.TemporaryDirectory() as folder:
        source = fetch_source(Path(folder))
        converted = convert(source, checkpoint, assets, Path(folder))
        quantize = build(source, Path(folder) / "build", "whisper-quantize")
        quantized = Path(folder) / "quantized.bin"
        run([str(quantize), str(converted), str(quantized), QUANTIZATION])
        out.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(quantized, out)


def convert(source: Path, checkpoint: Path, assets: Path, folder: Path) -> Path:
    """Write `ggml-model.bin`, half precision, into a folder and return its path.

    Args:
        source: whisper.cpp's sources.
        checkpoint: See `write_ggml`.
        assets: See `write_ggml`.
        folder: For the result.
    """
    # The converter looks for the assets where they lie in openai-whisper's sources.
    repository = folder / "openai-whisper"
    (repository / "whisper").mkdir(parents=True)
    (repository / "whisper" / "assets").symlink_to(assets.resolve(), target_is_directory=True)
    converter = source / "models" / "convert-pt-to-ggml.py"
    run([sys.executable, str(converter), str(checkpoint), str(repository), str(folder)])
    return folder / "ggml-model.bin"
