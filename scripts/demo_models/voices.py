"""The synthesizers' voices, and which of them the models never hear in training."""

from __future__ import annotations

from random import Random

from synthesis.clip import VoiceSpec

ACCENTS = (
    "en-us en en-gb-scotland en-gb-x-rp en-gb-x-gbclan en-gb-x-gbcwmd en-029 en-us-nyc"
).split()
VARIANTS = (
    "m1 m2 m4 m5 m6 m7 m8 f1 f2 f4 Alex Alicia Andrea Annie Denis Diogo Gene Gene2 Henrique Hugo "
    "Jacky Lee Marco Mario Michael Mike Nguyen adam anika announcer antonio aunty benjamin boris "
    "caleb david ed edward2 grandma grandpa gustave iven iven2 iven3 john kaukovalta klatt klatt2 "
    "klatt3 klatt4 marcelo max michel miguel norbert pablo pedro quincy rob sandro shelby steph "
    "steph3 travis victor zac"
).split()
FLITE_VOICES = ["kal16", "rms"]

# Kept for measuring. samples/meeting.wav is spoken by slt, m3 and f3.
HELD_OUT_VARIANTS = "m3 f3 f5 Andy belinda edward linda paul robert steph2".split()
HELD_OUT_FLITE_VOICES = ["awb", "slt"]

# Mean pitch of flite's voices in Hz, as their own settings have it.
_FLITE_PITCH = {"kal16": 105, "awb": 110, "rms": 105, "slt": 180}


def random_voice(chance: Random, *, held_out: bool = False, flite_share: float = 0.15) -> VoiceSpec:
    """Return a voice with a pitch and a rate of its own.

    Args:
        chance: Source of randomness.
        held_out: From the voices that are kept for measuring, instead of those for training.
        flite_share: How often flite speaks rather than espeak-ng.
    """
    if chance.random() < flite_share:
        voice = chance.choice(HELD_OUT_FLITE_VOICES if held_out else FLITE_VOICES)
        pitch = _FLITE_PITCH[voice] * chance.uniform(0.75, 1.3)
        return VoiceSpec("flite", voice, rate=chance.uniform(0.87, 1.17), pitch=pitch)
    variant = chance.choice(HELD_OUT_VARIANTS if held_out else VARIANTS)
    voice = f"{chance.choice(ACCENTS)}+{variant}"
    return VoiceSpec("espeak", voice, chance.uniform(135, 195), chance.uniform(15, 85))
