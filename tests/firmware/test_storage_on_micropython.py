"""Spool, journal and ledger on MicroPython's own littlefs and FAT, with a remount for every power cut."""

import json
from pathlib import Path
from typing import Any

import pytest

from lapel_sim.launcher import start

pytestmark = pytest.mark.needs("micropython")

DEVICE_CODE = Path(__file__).parent / "device"
# The disk itself lies on this heap; what the modules may use is the other tests' business.
HEAP_BYTES = 4 << 20


@pytest.mark.parametrize("kind", ["lfs", "fat"])
def test_clips_events_and_epochs_survive_on(kind: str) -> None:
    device = start("storage_device", [kind], (), HEAP_BYTES, DEVICE_CODE)
    output, _ = device.communicate(timeout=60)
    assert device.returncode == 0, output.decode()
    told: dict[str, Any] = {}
    for line in output.decode().splitlines():
        told.update(json.loads(line))
    assert "unreadable" not in told
    assert (told["cut"], told["segments"]) == (2, 8)
    assert told["clips"] == [[2, 8, False, True], [1, 10, True, False]]
    assert told["head"]
    assert "again" not in told
    assert (told["left"], told["has"]) == (1, [False, True])
    assert (told["appended"], told["same"], told["window"]) == (True, True, 48)
    assert (told["events"], told["epochs"], told["absent"]) == (0, 6, -1)
    assert told["names"] == ["epochs.0", "epochs.1", "journal", "spool"]
