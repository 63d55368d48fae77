"""Transcripts and turns in few words, for the tests of who speaks when."""

import itertools

from worker.speakers import assign_speakers
from worker.transcript import Diarization, Segment, SpeakerTurn, Transcript, Word

A, B, C = "SPEAKER_00", "SPEAKER_01", "SPEAKER_02"


def segment(*words, separator=" ", **more):
    """Return a segment of (text, start, end)."""
    made = tuple(Word(text, start, end, 0.9) for text, start, end in words)
    text = separator.join(word.word for word in made)
    return Segment(made[0].start, made[-1].end, text, made, 0.9, **more)


def spoken(text, start=0.0, step=0.4):
    """Return a segment of these words, one every `step` seconds, without pauses."""
    times = [round(start + index * step, 3) for index in range(len(text.split()) + 1)]
    pairs = itertools.pairwise(times)
    return segment(*((word, *at) for word, at in zip(text.split(), pairs, strict=True)))


def turns(*spans):
    return tuple(SpeakerTurn(start, end, speaker) for start, end, speaker in spans)


def assign(segments, spans, overlapping=None, duration=60.0):
    """Assign speakers by turns that are (start, end, speaker)."""
    diarization = Diarization(turns(*(overlapping or spans)), turns(*spans))
    return assign_speakers(Transcript("en", duration, tuple(segments)), diarization)


def words_of(transcript):
    return [word for part in transcript.segments for word in part.words]


def speakers_of(transcript):
    return [word.speaker for word in words_of(transcript)]
