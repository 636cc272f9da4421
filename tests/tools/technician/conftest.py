"""A bench for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from serial.tools import list_ports

from lapel_sim.tray.tray import Tray


@pytest.fixture
def tray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tray]:
    """An empty tray; what is put onto it is what this machine's USB shows."""
    folder = tmp_path / "tray"
    folder.mkdir()
    with Tray(folder) as made:
        monkeypatch.setattr(list_ports, "comports", made.comports)
        yield made
