"""Flite through its library, by ctypes."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from synthesis.clip import WORD, Clip, SampleError, VoiceSpec, Word, load_library, resample


class FliteWave(ctypes.Structure):
    """``cst_wave`` of flite's ``cst_wave.h``."""

    _fields_ = (
        ("type", ctypes.c_char_p),
        ("sample_rate", ctypes.c_int),
        ("num_samples", ctypes.c_int),
        ("num_channels", ctypes.c_int),
        ("samples", ctypes.POINTER(ctypes.c_short)),
    )


class FliteVoice(ctypes.Structure):
    """The first members of ``cst_voice`` of flite's ``cst_voice.h``."""

    _fields_ = (("name", ctypes.c_char_p), ("features", ctypes.c_void_p))


class Flite:
    """flite through its library, whose utterances hold each segment's end time."""

    WORD_START = b"R:SylStructure.daughter1.daughter1.R:Segment.p.end"
    WORD_END = b"R:SylStructure.daughtern.daughtern.R:Segment.end"

    def __init__(self, spec: VoiceSpec) -> None:
        """Load the library and the voice (`rate` 1.2 speaks a fifth faster)."""
        self._library = load_library("libflite.so.1")
        pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_float
        for name, result, arguments in (
            ("flite_init", ctypes.c_int, []),
            ("flite_synth_text", pointer, [text, pointer]),
            ("utt_wave", ctypes.POINTER(FliteWave), [pointer]),
            ("utt_relation", pointer, [pointer, text]),
            ("relation_head", pointer, [pointer]),
            ("item_next", pointer, [pointer]),
            ("flite_ffeature_float", number, [pointer, text]),
            ("flite_feat_set_float", None, [pointer, text, number]),
            ("delete_utterance", None, [pointer]),
        ):
            function = getattr(self._library, name)
            function.restype, function.argtypes = result, arguments
        self._library.flite_init()
        self._voice = self._load_voice(spec)

    def _load_voice(self, spec: VoiceSpec) -> Any:
        """Return a pointer to the voice with its rate and pitch set."""
        register = getattr(
            load_library(f"libflite_cmu_us_{spec.voice}.so.1"), f"register_cmu_us_{spec.voice}"
        )
        register.restype, register.argtypes = ctypes.POINTER(FliteVoice), [ctypes.c_char_p]
        voice = register(None)
        features = voice.contents.features
        if spec.rate is not None:
            self._library.flite_feat_set_float(features, b"duration_stretch", 1 / spec.rate)
        if spec.pitch is not None:
            self._library.flite_feat_set_float(features, b"int_f0_target_mean", spec.pitch)
        return voice

    def speak(self, text: str) -> Clip:
        """Return `text` spoken, untrimmed, at 16 kHz."""
        utterance = self._library.flite_synth_text(text.encode(), self._voice)
        if not utterance:
            raise SampleError(f"flite said nothing for {text!r}")
        try:
            sound = self._library.utt_wave(utterance).contents
            shape = (sound.num_samples,)
            samples = np.ctypeslib.as_array(sound.samples, shape).astype(np.float64)
            words = self._words(utterance, text)
            return Clip(resample(samples, sound.sample_rate), words)
        finally:
            self._library.delete_utterance(utterance)

    def _words(self, utterance: Any, text: str) -> list[Word]:
        """Walk the utterance's words, of which there must be as many as in the text."""
        words: list[Word] = []
        item = self._library.relation_head(self._library.utt_relation(utterance, b"Word"))
        for match in WORD.finditer(text):
            if not item:
                break
            start = self._library.flite_ffeature_float(item, self.WORD_START)
            end = self._library.flite_ffeature_float(item, self.WORD_END)
            words.append(Word(match.group(), start, end))
            item = self._library.item_next(item)
        if item or len(words) != len(WORD.findall(text)):
            raise SampleError(f"flite splits {text!r} into other words; write numbers out")
        return words
