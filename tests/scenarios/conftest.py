"""A world of its own for every scenario test."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from lapel_sim.device import SimDevice
from lapel_sim.world import World

_TROUBLE = re.compile("MemoryError|stopped by|Traceback")
PROGRAMS = Path(__file__).parent / "programs"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A world whose devices run as fast as this machine does."""
    with World(tmp_path / "world", seed=7) as made:
        yield made
        assert_sound(made)


def assert_sound(world: World) -> None:
    """No device ran out of memory, crashed, or asked of its hardware what no hardware does."""
    bad = [entry["line"] for entry in world.journal.entries("console") if _TROUBLE.search(entry["line"])]
    assert not bad, bad
    assert not world.journal.entries("fault")


def run_program(device: SimDevice, program: str, *arguments: str) -> None:
    """Switch the device on with one of the small programs instead of the firmware."""
    device.extra_path = PROGRAMS
    device.power_on(program, arguments)
