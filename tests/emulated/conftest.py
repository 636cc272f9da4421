"""An emulated board for each test, and tools that are as patient as it is slow."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mpremote.transport_serial import SerialTransport
from serial.tools import list_ports

from lapel_sim.emulated.board import EmulatedPico
from lapel_tools.technician import bench, link
from tests.emulated.image import VARIABLE, Image, find_image
from tests.tools.conftest import bare

__all__ = ["bare"]

collect_ignore_glob = [] if os.environ.get(VARIABLE) else ["test_*.py"]

PATIENCE = 100
"""How much longer than a real chip an emulated one may take, on a machine that does other things; the tools' own limits
are for real ones."""
BOARD = "fob_pico_w"

LIMITS = (
    (link, "READ_TIMEOUT_S"),
    (link, "WRITE_TIMEOUT_S"),
    (link, "STOP_TIMEOUT_S"),
    (bench, "_START_TIMEOUT_S"),
    (bench, "RETURN_TIMEOUT_S"),
)


@pytest.fixture(scope="session")
def image() -> Image:
    """The image that PICO_UF2 names."""
    found = find_image()
    assert found is not None
    return found


@pytest.fixture
def pico(image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EmulatedPico]:
    """A board that has no power yet, the only one on this machine's USB; a fob's parts are soldered to it."""
    board = EmulatedPico(image.base.path, tmp_path, BOARD, "e6614c311b7a0001", image.kind)

    def comports() -> list[object]:
        return [info for info in [board.port_info()] if info is not None]

    monkeypatch.setattr(list_ports, "comports", comports)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for module, name in LIMITS:
        monkeypatch.setattr(module, name, PATIENCE * getattr(module, name))
    exec_raw = SerialTransport.exec_raw

    def patient_exec_raw(transport: Any, command: Any, timeout: float = 10, data_consumer: Any = None) -> Any:
        return exec_raw(transport, command, PATIENCE * timeout, data_consumer)

    monkeypatch.setattr(SerialTransport, "exec_raw", patient_exec_raw)
    yield board
    board.power_off()
