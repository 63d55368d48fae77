"""espeak-ng through its library, by ctypes."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthesis.clip import (
    INSTALL_HINT,
    WORD,
    Clip,
    SampleError,
    VoiceSpec,
    Word,
    load_library,
    resample,
)


class EspeakEvent(ctypes.Structure):
    """``espeak_EVENT`` of espeak-ng's ``speak_lib.h``."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_char * 8),
    )


ESPEAK_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(EspeakEvent)
)


class Espeak:
    """espeak-ng through its library, which reports where each word starts."""

    SYNCHRONOUS, PHONEME_EVENTS = 2, 1
    LIST_END, WORD_EVENT, PHONEME_EVENT = 0, 1, 7
    RATE_PARAMETER, PITCH_PARAMETER = 1, 3
    POSITION_IS_CHARACTER, UTF8 = 1, 1
    PAUSES = (b"_", b"_:", b"")

    def __init__(self, spec: VoiceSpec) -> None:
        """Load the library and check that it has the voice."""
        self._spec = spec
        self._library = load_library("libespeak-ng.so.1")
        self._sample_rate = self._library.espeak_Initialize(
            self.SYNCHRONOUS, 0, None, self.PHONEME_EVENTS
        )
        if self._sample_rate <= 0:
            raise SampleError(f"espeak-ng found no data files; {INSTALL_HINT}")
        self._select_voice()

    def _select_voice(self) -> None:
        """Set voice, rate and pitch, which the library keeps process-wide."""
        if self._library.espeak_SetVoiceByName(self._spec.voice.encode()) != 0:
            raise SampleError(f"espeak-ng has no voice {self._spec.voice!r}")
        for parameter, value, default in (
            (self.RATE_PARAMETER, self._spec.rate, 175),
            (self.PITCH_PARAMETER, self._spec.pitch, 50),
        ):
            self._library.espeak_SetParameter(
                parameter, int(default if value is None else value), 0
            )

    def speak(self, text: str) -> Clip:
        """Return `text` spoken, untrimmed, at 16 kHz."""
        self._select_voice()
        chunks: list[NDArray[np.int16]] = []
        starts: dict[int, float] = {}
        pauses: list[float] = []

        def receive(data: Any, count: int, events: Any) -> int:
            if data and count:
                chunks.append(np.ctypeslib.as_array(data, (count,)).copy())
            index = 0
            while events[index].type != self.LIST_END:
                event = events[index]
                if event.type == self.WORD_EVENT:
                    starts.setdefault(event.text_position - 1, event.audio_position / 1000)
                elif event.type == self.PHONEME_EVENT and event.id in self.PAUSES:
                    pauses.append(event.audio_position / 1000)
                index += 1
            return 0

        callback = ESPEAK_CALLBACK(receive)
        self._library.espeak_SetSynthCallback(callback)
        raw = text.encode()
        status = self._library.espeak_Synth(
            raw, len(raw) + 1, 0, self.POSITION_IS_CHARACTER, 0, self.UTF8, None, None
        )
        if status != 0 or not chunks:
            raise SampleError(f"espeak-ng said nothing for {text!r} (status {status})")
        samples = np.concatenate(chunks).astype(np.float64)
        words = self._words(text, starts, pauses, len(samples) / self._sample_rate)
        return Clip(resample(samples, self._sample_rate), words)

    @staticmethod
    def _words(
        text: str, starts: dict[int, float], pauses: list[float], duration: float
    ) -> list[Word]:
        """Match the word events to the text.

        A stretch lasts from an event to the next pause or event. Short words that
        espeak-ng runs together ("do not") get one event: they share its stretch in
        proportion to their letters.
        """
        spelled = list(WORD.finditer(text))
        if spelled[0].start() not in starts:
            raise SampleError(f"espeak-ng reported no words in {text!r}")
        groups: list[list[str]] = []
        begins: list[float] = []
        for match in spelled:
            if match.start() in starts:
                groups.append([])
                begins.append(starts[match.start()])
            groups[-1].append(match.group())
        words = []
        for group, start, following in zip(groups, begins, [*begins[1:], duration], strict=True):
            end = min((pause for pause in pauses if start < pause < following), default=following)
            words += share(group, start, end)
        return words


def share(words: list[str], start: float, end: float) -> list[Word]:
    """Divide a stretch of time among words in proportion to their letters."""
    edges = start + (end - start) * np.cumsum([0, *map(len, words)]) / len("".join(words))
    spans = zip(words, edges.tolist(), edges.tolist()[1:], strict=False)
    return [Word(word, first, last) for word, first, last in spans]
