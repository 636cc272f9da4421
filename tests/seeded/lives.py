"""Lives of a device's storage in this process: the firmware's modules over each of the simulated storages."""

from __future__ import annotations

import random
from dataclasses import dataclass

from lapel_sim.inprocess.board import MemorySectors
from lapel_sim.inprocess.fuse import Fuse, PowerCut
from lapel_sim.inprocess.storage import SimulatedStorage, make_storage
from tests.firmware.device.storage_life import Dice, Life

CAPACITY_BYTES = 400 << 10
_CUTS = 6
_ACTIONS = 10


@dataclass
class Totals:
    """Power cuts, promises that were looked at after them, and operations of the medium."""

    cuts: int = 0
    checked: int = 0
    operations: int = 0


def new_storage(style: str, seed: int) -> tuple[Fuse, SimulatedStorage]:
    """An empty storage and the fuse that its operations burn."""
    fuse = Fuse(random.Random(f"{style} {seed}"))
    return fuse, make_storage(style, fuse, CAPACITY_BYTES)


def live(fuse: Fuse, storage: SimulatedStorage, seed: int, totals: Totals) -> None:
    """One life with a cut every few operations, then a last boot. Raises Broken, or what the firmware lets through."""
    life = Life(MemorySectors(fuse), Dice(seed))
    for boot in range(_CUTS + 1):
        if boot < _CUTS:
            fuse.arm(fuse.rng.randrange(1, fuse.rng.choice((40, 300))))
        try:
            life.boot(storage)
            for _ in range(_ACTIONS):
                life.act()
        except PowerCut:
            totals.cuts += 1
        fuse.disarm()
        storage.lose_power()
    totals.checked += life.checked
    totals.operations += fuse.operations
