"""What the tests of visits share: gateways in memory, and a lone worker's day at one of them."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.visits.day import Day
from tests.support.pair import DevicePair

RAM = Path("/dev/shm")


@pytest.fixture
def make_pair(tmp_path: Path) -> Iterator[Callable[..., DevicePair]]:
    """As everywhere, but kept in memory where the machine has a folder for it: hours of heartbeats wait for no disk."""
    made: list[DevicePair] = []
    with tempfile.TemporaryDirectory(dir=RAM if RAM.is_dir() else tmp_path, prefix="lapel-visits-") as folder:

        def make(**options: Any) -> DevicePair:
            made.append(DevicePair(Path(folder) / f"pair{len(made)}", **options))
            return made[-1]

        yield make
        for pair in made:
            pair.stop()


@pytest.fixture
def day(pair: DevicePair) -> Day:
    return Day(pair)


@pytest.fixture
def nobody(make_pair: Callable[..., DevicePair]) -> Day:
    """A gateway without devices: people with telephones only."""
    return Day(make_pair(devices=0))
