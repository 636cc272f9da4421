"""Spool, journal, ledger, settings and latch on MicroPython's own littlefs and FAT, cut at any operation.

LAPEL_STORAGE_LIVES=500 makes it so many lives of each instead of a few (four cuts and 0.4 s of processor each).
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from lapel_sim.launcher import start

pytestmark = pytest.mark.needs("micropython")

DEVICE_CODE = Path(__file__).parent / "device"
# The disk itself lies on this heap; what the modules may use is the other tests' business.
HEAP_BYTES = 4 << 20
# A small heap: MicroPython looks through all of it for room.
CUTS_HEAP_BYTES = 1 << 20
LIVES = int(os.environ.get("LAPEL_STORAGE_LIVES", "6"))


def told_by(arguments: list[str], heap_bytes: int, timeout_s: float) -> list[dict[str, Any]]:
    device = start("storage_cuts", arguments, (), heap_bytes, DEVICE_CODE)
    output, _ = device.communicate(timeout=timeout_s)
    assert device.returncode == 0, output.decode()
    return [json.loads(line) for line in output.decode().splitlines() if line.startswith("{")]


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


@pytest.mark.parametrize("style", ["littlefs-flash", "littlefs-card", "fat-card"])
def test_what_was_promised_is_kept_over_power_cuts_at_any_operation_on(
    style: str, capsys: pytest.CaptureFixture[str]
) -> None:
    *broken, totals = told_by([style, "1", str(LIVES)], CUTS_HEAP_BYTES, 120 + 10 * LIVES)
    with capsys.disabled():
        print(f"\nMicroPython {style}: {totals}")  # noqa: T201
    assert not broken
    assert totals["cuts"] > 2 * LIVES
    assert totals["checked"] > 50 * LIVES


def test_a_fat_folder_with_an_entry_that_is_no_name_is_read_past_it() -> None:
    (told,) = told_by(["garbled"], HEAP_BYTES, 60)
    assert told == {"names": ["00000001.clp", "00000002.clp"], "foreign": 2}
