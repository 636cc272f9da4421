"""The fast models promise no more than the real file systems keep: whatever a cut leaves there, it may leave here too.

The other way round a model may be nastier: it tears a FAT append anywhere, where FatFs writes the new size last.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from lapel_sim.inprocess.fuse import Fuse, PowerCut
from lapel_sim.inprocess.storage import SimulatedStorage, make_storage

pytestmark = pytest.mark.needs("micropython")  # fat-card is MicroPython's own FatFs

CAPACITY_BYTES = 400 << 10
OTHER = "/kept.bin"
PATH = "/file.bin"
PART_BYTES = 1700  # neither sectors nor pages

Sequence = Callable[[SimulatedStorage], None]
# (path, content) of each file that the sequences touch; None: it is absent
Outcome = tuple[tuple[str, bytes | None], ...]


def part(number: int) -> bytes:
    return bytes([number]) * PART_BYTES


def put(storage: SimulatedStorage, path: str, mode: str, *numbers: int, flush: bool = True) -> None:
    file = storage.open(path, mode)
    for number in numbers:
        file.write(part(number))
        if flush:
            file.flush()
    file.close()


def create(storage: SimulatedStorage) -> None:
    put(storage, PATH, "wb", 1, 2)


def append(storage: SimulatedStorage) -> None:
    file = storage.open(PATH, "ab")
    file.write(part(3))
    file.write(part(4))
    file.flush()
    file.write(part(5))
    file.close()


def overwrite(storage: SimulatedStorage) -> None:
    put(storage, PATH, "wb", 7, 8)


def remove(storage: SimulatedStorage) -> None:
    storage.remove(PATH)


def mark(storage: SimulatedStorage) -> None:
    storage.open("/mark.bin", "wb").close()


def write_and_leave(storage: SimulatedStorage) -> None:
    file = storage.open(PATH, "ab")
    file.write(part(3))
    put(storage, OTHER, "ab", 6)


SEQUENCES: dict[str, tuple[bool, Sequence]] = {
    "create": (False, create),
    "append": (True, append),
    "overwrite": (True, overwrite),
    "remove": (True, remove),
    "mark": (True, mark),
    "write and leave": (True, write_and_leave),
}
REAL = {"littlefs-flash": "flash", "littlefs-card": "flash", "fat-card": "card"}


def outcome(storage: SimulatedStorage) -> Outcome:
    return tuple((path, storage.content(path)) for path in (PATH, OTHER, "/mark.bin"))


def outcomes(style: str, sequence: str, seeds: int) -> set[Outcome]:
    """Everything that a cut at every operation of the sequence left, and what no cut left."""
    before, run = SEQUENCES[sequence]
    found = set()
    cut_at = 1
    while True:
        finished = 0
        for seed in range(seeds):
            fuse = Fuse(random.Random(f"{style} {sequence} {cut_at} {seed}"))
            storage = make_storage(style, fuse, CAPACITY_BYTES)
            put(storage, OTHER, "wb", 9)
            if before:
                put(storage, PATH, "wb", 1, 2)
            fuse.arm(cut_at)
            try:
                run(storage)
                finished += 1
            except PowerCut:
                pass
            fuse.disarm()
            storage.lose_power()
            found.add(outcome(storage))
        if finished:
            return found
        cut_at += 1


@pytest.mark.parametrize("sequence", SEQUENCES)
@pytest.mark.parametrize("style", REAL)
def test_what_a_cut_leaves_on_the_real_one_the_model_can_leave_too(style: str, sequence: str) -> None:
    real = outcomes(style, sequence, 8)
    model = outcomes(REAL[style], sequence, 300)
    for left in real:
        assert is_covered(left, model), {path: None if content is None else len(content) for path, content in left}


def is_covered(left: Outcome, model: set[Outcome]) -> bool:
    """Whether the model left the same, file by file; it draws where it tears: torn tails need not be equally long."""
    return any(all(alike(a, b) for (_, a), (_, b) in zip(left, other, strict=True)) for other in model)


def alike(real: bytes | None, model: bytes | None) -> bool:
    if real is None or model is None:
        return real is model
    return len(real) // PART_BYTES == len(model) // PART_BYTES and real[: len(model)] == model[: len(real)]


@pytest.mark.parametrize("style", REAL)
def test_flushed_content_is_there_on_the_real_ones_whatever_follows(style: str) -> None:
    for left in outcomes(style, "append", 8):
        content = dict(left)[PATH]
        assert content is not None
        assert content.startswith(part(1) + part(2))
    for left in outcomes(style, "write and leave", 8):
        kept = dict(left)[OTHER]
        assert kept is not None
        assert kept.startswith(part(9))
