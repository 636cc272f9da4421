"""Named points between durable steps."""

import re
from pathlib import Path

import pytest

import lapel_gateway
from lapel_gateway import steps


def test_every_point_that_is_reached_is_described_and_every_described_one_is_reached() -> None:
    reached: set[str] = set()
    for file in Path(lapel_gateway.__file__).parent.rglob("*.py"):
        reached.update(re.findall(r"\breach\(\"([a-z_.]+)\"\)", file.read_text(encoding="utf-8")))
    assert reached == set(steps.POINTS)


def test_a_hook_is_called_inside_its_block_only_and_may_raise() -> None:
    heard: list[str] = []

    def hook(name: str) -> None:
        heard.append(name)
        if name == "alarms.committed":
            raise KeyError(name)

    steps.reach("alarms.written")
    with steps.hooked(hook):
        steps.reach("alarms.written")
        with pytest.raises(KeyError):
            steps.reach("alarms.committed")
    steps.reach("alarms.committed")
    assert heard == ["alarms.written", "alarms.committed"]


def test_a_point_that_nobody_described_is_refused() -> None:
    with steps.hooked(lambda _name: None), pytest.raises(ValueError, match="unknown step"):
        steps.reach("ingest.something_else")
