"""Synthetic speech whose words have exact times, from espeak-ng and flite."""

from synthesis.espeak import Espeak
from synthesis.flite import Flite

ENGINES: dict[str, type[Espeak] | type[Flite]] = {"espeak": Espeak, "flite": Flite}
