#!/usr/bin/env python3
"""Make the demo models. `scripts/demo_models/README.md` says in which order, and how long it takes.

Needs the shared libraries of espeak-ng and flite: ``apt-get install espeak-ng flite``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from core.logger import configure_logging
from demo_models import corpus as corpora
from demo_models.conversations import Cast

FolderOption = click.option("--work", type=click.Path(path_type=Path), default=ROOT / ".data/train",
                            show_default=True, help="Where corpora are kept.")  # fmt: skip
RealOption = click.option(
    "--real", type=click.Path(exists=True, path_type=Path),
    help="Folder with librispeech/ and ami/ (demo_models/real_speech.py); none: synthetic only.",
)  # fmt: skip
AssetsOption = click.option(
    "--assets", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True,
    help="The folder whisper/assets of the package openai-whisper.",
)  # fmt: skip
ResumeOption = click.option("--resume", is_flag=True, help="Go on with the weights there are.")
MODELS = ROOT / "models" / "demo" / "diarization"
CONVERSATIONS = ROOT / "tests" / "data" / "conversations"
SPEECH_MODEL = ROOT / "models" / "demo" / "ggml-demo-en.bin"


@click.group()
def main() -> None:
    """Make the demo models."""
    configure_logging("WARNING")


@main.command()
@FolderOption
@click.option("--voices", default=600, show_default=True)
@click.option("--sentences", default=10, show_default=True, help="That each voice says.")
def corpus(work: Path, voices: int, sentences: int) -> None:
    """Speak the corpora: voices for training, and others for measuring."""
    for name, count, seed, held_out in (
        ("voices", voices, 1, False),
        ("held-out", max(1, voices // 10), 2, True),
    ):
        spoken = corpora.speak_corpus(count, sentences, seed=seed, held_out=held_out)
        spoken.save(work / name)
        click.echo(f"{name}: {len(spoken.entries)} clips, {corpora.hours(spoken):.1f} h")


@main.command()
@FolderOption
@RealOption
@click.option("--minutes", default=25.0, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=MODELS / "embedding")
@ResumeOption
def embedding(work: Path, real: Path | None, minutes: float, out: Path, resume: bool) -> None:
    """Train the speaker embedding."""
    from demo_models.embedding import Batches, train_embedding

    seed = 13 if resume else 3
    batches = Batches(_synthetic(work), _real(real), seed=seed, real_share=0.3)
    train_embedding(batches, out, minutes, resume=resume)


@main.command()
@FolderOption
@RealOption
@click.option("--minutes", default=45.0, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=MODELS / "segmentation")
@ResumeOption
def segmentation(work: Path, real: Path | None, minutes: float, out: Path, resume: bool) -> None:
    """Train the segmentation."""
    from demo_models.checkpoint import load_weights
    from demo_models.real_speech import load_ami_meetings
    from demo_models.segmentation import Windows, frame_times, new_model, train_segmentation

    model = new_model()
    if resume:
        load_weights(model, out)
    meetings = list(load_ami_meetings(real, "trn").values()) if real else []
    seed = 14 if resume else 4
    windows = Windows(_synthetic(work), _real(real), meetings, seed, frame_times(model))
    train_segmentation(windows, model, out, minutes)


@main.command()
@FolderOption
@click.option("--voices", default=6000, show_default=True)
@click.option("--sentences", default=6, show_default=True, help="That each voice says.")
def speech_corpus(work: Path, voices: int, sentences: int) -> None:
    """Speak the corpora of the speech model, for training and for validation."""
    from demo_models.speech_corpus import save, speak_all_voices

    for name, count, seed in (("training", voices, 10), ("validation", max(10, voices // 20), 20)):
        spoken = speak_all_voices(count, sentences, seed)
        save(spoken, work / "speech", name)
        clips = sum(len(corpus.entries) for corpus in spoken)
        click.echo(f"{name}: {clips} clips, {sum(map(corpora.hours, spoken)):.1f} h")


@main.command()
@FolderOption
@AssetsOption
@click.option("--minutes", default=95.0, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="[default: WORK/speech/speech.pt]")
def speech(work: Path, assets: Path, minutes: float, out: Path | None) -> None:
    """Train the speech model: write a checkpoint."""
    from demo_models.speech import train_speech
    from demo_models.speech_corpus import load
    from demo_models.speech_windows import Windows
    from demo_models.tokens import Tokenizer
    from demo_models.whisper_model import LogMel

    folder, tokenizer = work / "speech", Tokenizer(assets)
    windows = Windows(load(folder, "training"), tokenizer, seed=5)
    validation = Windows(load(folder, "validation"), tokenizer, seed=6)
    train_speech(windows, validation, LogMel(assets), out or folder / "speech.pt", minutes)


@main.command()
@FolderOption
@AssetsOption
@click.option("--checkpoint", type=click.Path(exists=True, path_type=Path),
              help="[default: WORK/speech/speech.pt]")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path), default=SPEECH_MODEL)
def speech_convert(work: Path, assets: Path, checkpoint: Path | None, out: Path) -> None:
    """Write the speech model for whisper.cpp, quantized."""
    from demo_models.ggml import write_ggml

    write_ggml(checkpoint or work / "speech" / "speech.pt", assets, out)


@main.command()
@FolderOption
@RealOption
@click.option("--pipeline", type=click.Path(path_type=Path), default=MODELS)
def plda(work: Path, real: Path | None, pipeline: Path) -> None:
    """Fit the PLDA to the embeddings of the training voices."""
    from demo_models.clustering import embed_speakers, fit_plda
    from worker.pyannote_import import import_pyannote

    model = import_pyannote().Model.from_pretrained(pipeline / "embedding")
    casts = [cast for cast in (_synthetic(work), _real(real)) if cast is not None]
    fit_plda(*embed_speakers(model, casts), pipeline / "plda")


@main.command()
@RealOption
@click.option("--pipeline", type=click.Path(path_type=Path), default=MODELS)
@click.option("--step", default=0.25, show_default=True, help="Share of a window.")
@click.option("--window", default=4.0, show_default=True, help="Seconds that are seen at once.")
def tune(real: Path | None, pipeline: Path, step: float, window: float) -> None:
    """Set the window, choose the clustering, and write the pipeline's config.yaml."""
    from demo_models import tuning
    from demo_models.checkpoint import set_window

    set_window(pipeline / "segmentation", window)

    fresh = Cast(corpora.speak_corpus(60, 8, seed=31))
    casts = [cast for cast in (fresh, _real(real)) if cast is not None]
    results = sorted(tuning.tune(pipeline, casts, step), key=lambda result: result[2])
    for clustering, parameters, rate in results[:12]:
        click.echo(f"{100 * rate:5.1f} %  {clustering} {parameters}")
    tuning.write_config(pipeline, *results[0][:2])


@main.command()
@FolderOption
def conversations(work: Path) -> None:
    """Make the conversations of unseen voices that the tests measure with."""
    from demo_models.evaluation import make_conversations

    make_conversations(Cast(corpora.Corpus.load(work / "held-out")), CONVERSATIONS)


@main.command()
@RealOption
@click.option("--pipeline", type=click.Path(path_type=Path), default=MODELS)
@click.option("--step", default=0.25, show_default=True, help="Share of a window.")
def evaluate(real: Path | None, pipeline: Path, step: float) -> None:
    """Measure the diarization error rate, with and without the number of speakers."""
    from demo_models import evaluation
    from worker.pipeline_source import load_pipeline

    loaded = load_pipeline(str(pipeline), None)
    loaded._segmentation.step = step * loaded._segmentation.duration
    sets = {
        "samples/meeting.wav": [evaluation.read_sample(ROOT / "samples" / "meeting.wav")],
        "unseen synthetic voices": list(evaluation.read_conversations(CONVERSATIONS)),
    }
    if real:
        sets["LibriSpeech, held back"] = list(evaluation.read_librispeech(real))
        sets["AMI dev"] = list(evaluation.read_ami(real))
    for name, recordings in sets.items():
        for told in (False, True):
            rates = evaluation.error_rates(loaded, recordings, told=told)
            figures = ", ".join(f"{100 * rate:.1f} % (collar {c} s)" for c, rate in rates.items())
            click.echo(f"{name:<26} {'number given' if told else 'number not given':<17} {figures}")


@main.command()
@FolderOption
@RealOption
@click.option("--pipeline", type=click.Path(path_type=Path), default=MODELS)
@click.option("--step", default=0.25, show_default=True, help="Share of a window.")
def likeness(work: Path, real: Path | None, pipeline: Path, step: float) -> None:
    """Measure how alike unseen voices are: what KNOWN_SPEAKER_THRESHOLD is chosen by."""
    from demo_models.likeness import measure
    from demo_models.real_speech import LIBRISPEECH_HELD_OUT, load_librispeech
    from worker.pipeline_source import load_pipeline
    from worker.window_sharing import share_windows

    loaded = load_pipeline(str(pipeline), None)
    loaded._segmentation.step = step * loaded._segmentation.duration
    loaded.segmentation_batch_size = loaded.embedding_batch_size = 8
    share_windows(loaded)
    sets = {"unseen synthetic voices": corpora.Corpus.load(work / "held-out")}
    if real:
        sets["LibriSpeech, held back"] = load_librispeech(real, LIBRISPEECH_HELD_OUT)
    for name, voices in sets.items():
        for seconds, found in measure(loaded, voices, (2.0, 5.0, 10.0)).items():
            click.echo(f"{name}, clips of {seconds:g} s\n{found.table()}\n")


def _synthetic(work: Path) -> Cast:
    return Cast(corpora.Corpus.load(work / "voices"))


def _real(folder: Path | None) -> Cast | None:
    from demo_models.real_speech import LIBRISPEECH_TRAINING, load_ami_voices, load_librispeech

    if folder is None:
        return None
    return Cast(load_librispeech(folder, LIBRISPEECH_TRAINING), load_ami_voices(folder))


if __name__ == "__main__":
    main()
