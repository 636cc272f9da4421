"""What the red team's tests share: stages with an enemy between devices and gateway."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.redteam.stage import Stage
from tests.support.pair import DevicePair


@pytest.fixture
def make_stage(tmp_path: Path) -> Iterator[Callable[..., Stage]]:
    """Makes stages, each in a folder of its own, and ends them with the test."""
    made: list[Stage] = []

    def make(**options: Any) -> Stage:
        made.append(Stage(tmp_path / f"stage{len(made)}", **options))
        return made[-1]

    yield make
    for stage in made:
        stage.close()


@pytest.fixture
def stage(make_stage: Callable[..., Stage]) -> Stage:
    """One device that the gateway has welcomed."""
    stage = make_stage()
    stage.run(3000)
    assert stage.one.app.status().welcomed
    return stage


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[DevicePair]:
    """A gateway and one protocol-true device that has said hello."""
    pair = DevicePair(tmp_path / "pair")
    pair.greet()
    yield pair
    pair.stop()
