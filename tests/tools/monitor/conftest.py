"""A gateway with a lone worker's day going on, served as it really is, and a monitor that looks at it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.tools.monitor.duty import Duty


@pytest.fixture
def duty(tmp_path: Path) -> Iterator[Duty]:
    duty = Duty(tmp_path)
    yield duty
    duty.close()


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Let a silence of the gateway be noticed soon."""

    def shorten() -> None:
        monkeypatch.setattr("lapel_tools.monitor.live.AWAY_S", 2.0)
        monkeypatch.setattr("lapel_tools.monitor.sources.SILENCE_S", 1.8)
        monkeypatch.setattr("lapel_tools.monitor.sources.RETRY_S", 0.05)

    return shorten
