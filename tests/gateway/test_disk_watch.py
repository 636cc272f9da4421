"""Disks that fill up: an alarm in time, one for each disk, and word of when there is room again."""

from pathlib import Path

import pytest

from lapel_gateway.alarms.kinds import DISK_LOW
from lapel_gateway.disk_watch import DiskWatch, free_bytes
from tests.support.pair import DevicePair

MIB = 1 << 20


class Disk:
    def __init__(self) -> None:
        self.free_bytes = 100 * MIB

    def free(self, _folder: Path) -> int:
        return self.free_bytes


def test_a_disk_that_becomes_low_is_one_alarm_and_its_mending_is_noted(pair: DevicePair, tmp_path: Path) -> None:
    disk = Disk()
    watch = DiskWatch(pair.engine, [tmp_path, tmp_path / "absent", tmp_path], 10 * MIB, disk.free)
    watch.look(pair.now_ms)
    assert pair.count("alarm") == 0
    for free in (10, 5, 10, 5):
        disk.free_bytes = free * MIB
        watch.look(pair.now_ms)
    row = pair.row("alarm")
    assert (row["kind"], row["about"]) == (DISK_LOW, str(tmp_path))
    assert "10 MiB are free" in row["detail"]
    assert "make room" in row["detail"]
    disk.free_bytes = 20 * MIB
    watch.look(pair.now_ms)
    assert [line["step"] for line in pair.rows("alarm_log")] == ["received", "noted"]
    disk.free_bytes = MIB
    watch.look(pair.now_ms)
    assert pair.count("alarm") == 1


def test_a_bound_of_nothing_watches_nothing(pair: DevicePair, tmp_path: Path) -> None:
    disk = Disk()
    disk.free_bytes = 0
    DiskWatch(pair.engine, [tmp_path], 0, disk.free).look(pair.now_ms)
    assert pair.count("alarm") == 0


def test_the_room_on_this_disk_can_be_read(tmp_path: Path) -> None:
    assert free_bytes(tmp_path) > 0
    with pytest.raises(OSError, match="No such file"):
        free_bytes(tmp_path / "absent")
