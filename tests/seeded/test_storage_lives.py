"""Nothing that the firmware said was durable is lost to power cuts at any operation of any storage.

LAPEL_STORAGE_LIVES=2000 makes it so many lives for each storage instead of a few.
"""

import os
import zlib

import pytest

from lapel_device.clip_writer import ClipWriter
from lapel_device.twofold import TwofoldFile
from lapel_sim.inprocess.storage import STYLES
from tests.firmware.device.storage_life import Broken

from .lives import Totals, live, new_storage

LIVES = int(os.environ.get("LAPEL_STORAGE_LIVES", "30"))

pytestmark = pytest.mark.needs("micropython")  # fat-card is MicroPython's own FatFs


@pytest.mark.parametrize("style", STYLES)
def test_what_was_promised_is_kept_over_power_cuts_at_any_operation(
    style: str, capsys: pytest.CaptureFixture[str]
) -> None:
    totals = Totals()
    for seed in range(1, LIVES + 1):
        fuse, storage = new_storage(style, seed)
        try:
            live(fuse, storage, seed, totals)
        except Broken as broken:
            pytest.fail(f"{style}, life {seed}: {broken}")
    with capsys.disabled():
        print(f"\n{style}: {totals.cuts} power cuts in {totals.operations} operations, {totals.checked} promises kept")  # noqa: T201
    assert totals.cuts > LIVES * 2


def broken_within(style: str, lives: int) -> str:
    for seed in range(1, lives + 1):
        fuse, storage = new_storage(style, seed)
        try:
            live(fuse, storage, seed, Totals())
        except Broken as broken:
            return str(broken)
    return ""


@pytest.mark.parametrize("style", ["littlefs-flash", "fat-card"])
def test_segments_that_are_counted_before_they_are_synced_are_missed(
    style: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hasty(self: ClipWriter) -> None:
        self._entry.segments = self._head.count
        self._entry.content_bytes = self._content_bytes

    monkeypatch.setattr(ClipWriter, "sync", hasty)
    assert broken_within(style, 200)


def test_a_record_that_is_kept_once_only_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    def once(self: TwofoldFile, record: bytes) -> None:
        file = self._storage.open(self._path + "0", "wb")
        file.write(record + zlib.crc32(record).to_bytes(4))
        file.flush()
        file.close()

    monkeypatch.setattr(TwofoldFile, "write", once)
    assert broken_within("fat-card", 200)
