"""What the gateway's tests share: a gateway joined to one true device."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from tests.support.pair import DevicePair


@pytest.fixture(autouse=True)
def _logs_as_they_are_by_default() -> None:
    """Whatever another ring's tests have made of the log of this process."""
    structlog.reset_defaults()


@pytest.fixture
def make_pair(tmp_path: Path) -> Iterator[Callable[..., DevicePair]]:
    """Makes gateways with devices, each in a folder of its own, and stops them at the end of the test."""
    made: list[DevicePair] = []

    def make(**options: Any) -> DevicePair:
        made.append(DevicePair(tmp_path / f"pair{len(made)}", **options))
        return made[-1]

    yield make
    for pair in made:
        pair.stop()


@pytest.fixture
def pair(make_pair: Callable[..., DevicePair]) -> DevicePair:
    """A gateway with the organisation's private key, and one device that has said hello."""
    pair = make_pair()
    pair.greet()
    return pair
