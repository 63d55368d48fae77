"""A speech model of several languages that takes everything for German, and hears one word.

It writes "Hallo", or "Hello" when it is asked to translate. To whisper.cpp it is a whole model, and
it is made in a moment: all layers are zero, and what comes next follows from the last token alone.
"""

import struct
from pathlib import Path

import numpy as np

STATE = 64  # one attention head
VOCABULARY = 51865  # of Whisper's multilingual models
MELS, FFT = 80, 201
AUDIO_CONTEXT, TEXT_CONTEXT = 1500, 448
LAYERS = 4  # by which whisper.cpp takes it for "tiny"

HALLO, HELLO = 300, 301
END = 50257
GERMAN = 50261  # after the start of the transcript: English, Chinese, German
TRANSLATE, TRANSCRIBE = 50358, 50359
TEXTS = {220: b" ", HALLO: b" Hallo", HELLO: b" Hello"}  # whisper.cpp looks for the space

# Each direction stands for what has just been seen, or, the first one, for anything.
ALWAYS, ASKED_TO_TRANSLATE, ASKED_TO_TRANSCRIBE, WORD_SEEN = range(4)


def write_german_model(path: Path) -> None:
    hparams = [VOCABULARY, AUDIO_CONTEXT, STATE, 1, LAYERS, TEXT_CONTEXT, STATE, 1, LAYERS, MELS, 1]
    with path.open("wb") as file:
        file.write(struct.pack("<12i", 0x67676D6C, *hparams))
        file.write(struct.pack("<2i", MELS, FFT) + np.zeros((MELS, FFT), "<f4").tobytes())
        file.write(struct.pack("<i", END))
        for token in range(END):
            text = TEXTS.get(token, b" %d" % token)
            file.write(struct.pack("<I", len(text)) + text)
        for name, values, kind in tensors():
            file.write(struct.pack("<3i", values.ndim, len(name), kind == "<f2"))
            file.write(struct.pack(f"<{values.ndim}i", *reversed(values.shape)))
            file.write(name.encode() + values.astype(kind).tobytes())


def tensors():
    zero = np.zeros
    embedding = zero((VOCABULARY, STATE))
    embedding[:, ALWAYS] = -10.0
    embedding[GERMAN, ALWAYS] = 10.0
    for task, direction, word in (
        (TRANSLATE, ASKED_TO_TRANSLATE, HELLO),
        (TRANSCRIBE, ASKED_TO_TRANSCRIBE, HALLO),
    ):
        embedding[[task, word], ALWAYS] = 0.0
        embedding[task, direction] = 1.0
        embedding[word, direction] = 2.0
        embedding[word, WORD_SEEN] = 4.0
    embedding[END, ALWAYS] = 0.0
    embedding[END, WORD_SEEN] = 10.0
    always, seen = zero(STATE), zero(STATE)
    always[ALWAYS] = 1.0
    seen[ALWAYS + 1 : WORD_SEEN + 1] = 1.0
    yield "encoder.positional_embedding", zero((AUDIO_CONTEXT, STATE)), "<f4"
    yield "encoder.conv1.weight", zero((STATE, MELS, 3)), "<f2"
    yield "encoder.conv1.bias", zero((STATE, 1)), "<f4"
    yield "encoder.conv2.weight", zero((STATE, STATE, 3)), "<f2"
    yield "encoder.conv2.bias", zero((STATE, 1)), "<f4"
    yield from norm("encoder.ln_post")
    for layer in range(LAYERS):
        yield from block(f"encoder.blocks.{layer}", "attn")
        yield from block(f"decoder.blocks.{layer}", "attn", "cross_attn")
    yield "decoder.positional_embedding", zero((TEXT_CONTEXT, STATE)), "<f4"
    yield "decoder.token_embedding.weight", embedding, "<f2"
    yield "decoder.ln.weight", seen, "<f4"
    yield "decoder.ln.bias", always, "<f4"


def block(name, *attentions):
    yield from norm(f"{name}.mlp_ln")
    yield from linear(f"{name}.mlp.0", 4 * STATE, STATE)
    yield from linear(f"{name}.mlp.2", STATE, 4 * STATE)
    for attention in attentions:
        yield from norm(f"{name}.{attention}_ln")
        for part in ("query", "key", "value", "out"):
            yield from linear(f"{name}.{attention}.{part}", STATE, STATE, bias=part != "key")


def linear(name, rows, columns, *, bias=True):
    yield f"{name}.weight", np.zeros((rows, columns)), "<f2"
    if bias:
        yield f"{name}.bias", np.zeros(rows), "<f4"


def norm(name):
    yield f"{name}.weight", np.zeros(STATE), "<f4"
    yield f"{name}.bias", np.zeros(STATE), "<f4"
