"""Units of work for the tests of their repository."""

from __future__ import annotations

from collections.abc import Sequence

from core.messaging import SPEECH_QUEUE
from repositories.models import UnitCreate, UnitKind, UnitModel
from repositories.unit_repository import UnitRepository

LEASE = 3600.0
EXPIRED = -1.0  # a lease that has ended when it is given


def a_unit(name: str, **fields) -> UnitCreate:
    """A unit named `<job>-<what>`, by default one of speech that costs nothing."""
    defaults = {
        "job_id": name.partition("-")[0],
        "kind": UnitKind.TRANSCRIBE,
        "queue": SPEECH_QUEUE,
        "timeout_seconds": 60.0,
    }
    return UnitCreate(id=name, **defaults | fields)


async def add(units: UnitRepository, owner: str, *names: str, **fields) -> list[UnitModel]:
    return await units.add(owner, [a_unit(name, **fields) for name in names])


async def claim(
    units: UnitRepository, *queues: str, lease_seconds: float = LEASE
) -> UnitModel | None:
    return await units.claim(queues or (SPEECH_QUEUE,), lease_seconds)


async def claim_all(units: UnitRepository, queues: Sequence[str] = (SPEECH_QUEUE,)) -> list[str]:
    """Claim whatever can be; the ids, in order."""
    found = []
    while unit := await units.claim(queues, LEASE):
        found.append(unit.id)
    return found
