"""What FAT does at a power cut, on MicroPython's own FatFs, and how the firmware keeps clear of it.

The first two tests show the hazards themselves: should they ever fail, the firmware need not avoid them any more.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial

import pytest

from lapel_device.alarm_control import AlarmControl
from lapel_device.feedback import Feedback
from lapel_device.settings import Settings
from lapel_protocol.orders import SettingsChange
from lapel_sim.inprocess.blocks import Card
from lapel_sim.inprocess.board import MemoryIndicator
from lapel_sim.inprocess.fat_storage import LEAST_BYTES, FatStorage
from lapel_sim.inprocess.fuse import Fuse, PowerCut
from tests.firmware.device.storage_life import Broken

from .lives import Totals, live

pytestmark = pytest.mark.needs("micropython")


def new_fat(seed: str, any_order: bool = False) -> tuple[Fuse, FatStorage]:
    fuse = Fuse(random.Random(seed))
    return fuse, FatStorage(Card(fuse, LEAST_BYTES, any_order), 400 << 10)


def put(storage: FatStorage, path: str, content: bytes) -> None:
    file = storage.open(path, "wb")
    file.write(content)
    file.close()


def cut(fuse: Fuse, storage: FatStorage, cut_at: int, act: Callable[[], object]) -> bool:
    """Whether the power went in the `cut_at`-th operation of `act`, and came back."""
    fuse.arm(cut_at)
    try:
        act()
        return False
    except PowerCut:
        return True
    finally:
        fuse.disarm()
        storage.lose_power()


def reads(storage: FatStorage, path: str) -> bytes:
    """A file's content, empty when FatFs refuses it."""
    try:
        return storage.content(path) or b""
    except OSError:
        return b""


def test_a_rename_that_is_cut_leaves_two_names_for_one_content_and_loses_what_comes_after_it() -> None:
    old, new = "/settings.new", "/folder/settings.bin"
    found = set()
    for cut_at in range(1, 8):
        for seed in range(10):
            fuse, storage = new_fat(f"{cut_at} {seed}")
            storage.mkdir("/folder")
            put(storage, old, b"n" * 600)
            cut(fuse, storage, cut_at, partial(storage.rename, old, new))
            names = [path for path in (old, new) if storage.size(path) >= 0]
            found.add(len(names))
            if len(names) == 2:
                storage.remove(old)
                put(storage, "/clip.clp", b"c" * 600)
                assert reads(storage, new) == b"c" * 600, "the other name now reads the clip"
                storage.remove(new)
                put(storage, "/other.clp", b"o" * 600)
                assert reads(storage, "/clip.clp") != b"c" * 600, "and removing it gave the clip's place away"
    assert found >= {1, 2}


def lost_names(name: str) -> int:
    """How many files that were written and synced are not found, after a cut while their folder grew."""
    lost = 0
    for cut_at in range(1, 40):
        for seed in range(2):
            fuse, storage = new_fat(f"{cut_at} {seed}")
            storage.mkdir("/spool")
            put(storage, "/used.bin", random.Random(seed).randbytes(40_000))
            storage.remove("/used.bin")  # free clusters are not empty ones

            def fill(first: int, count: int, storage: FatStorage = storage) -> None:
                for number in range(first, first + count):
                    storage.open("/spool/" + name % number, "wb").close()

            cut(fuse, storage, cut_at, partial(fill, 1, 17))
            present = set(storage.listdir("/spool"))
            fill(100, 20)
            present.update(name % number for number in range(100, 120))
            lost += len(present - set(storage.listdir("/spool")))
    return lost


def test_a_long_name_can_land_behind_the_end_of_a_folder_whose_growth_was_cut_and_a_short_one_cannot() -> None:
    assert lost_names("%08x.lapel") > 0
    assert lost_names("%08x.clp") == 0


def settings_of(storage: FatStorage) -> int:
    settings = Settings(storage, SettingsChange())
    settings.load()
    return settings.current.heartbeat_s


def wanted(version: int) -> SettingsChange:
    change = SettingsChange()
    change.version = version
    change.heartbeat_s = 40 + version
    return change


def test_settings_survive_a_power_cut_at_any_operation_of_their_change() -> None:
    cuts = 0
    for cut_at in range(1, 60):
        for seed in range(6):
            fuse, storage = new_fat(f"{cut_at} {seed}")
            Settings(storage, SettingsChange()).change(wanted(1))
            put(storage, "/clip.clp", b"c" * 3000)
            settings = Settings(storage, SettingsChange())
            settings.load()
            was_cut = cut(fuse, storage, cut_at, partial(settings.change, wanted(2)))
            assert settings_of(storage) in ((41, 42) if was_cut else (42,))
            again = Settings(storage, SettingsChange())
            again.load()
            twice = cut(fuse, storage, 1 + (cut_at * 7 + seed) % 14, partial(again.change, wanted(3)))
            assert settings_of(storage) in ((41, 42, 43) if twice else (43,))
            assert storage.content("/clip.clp") == b"c" * 3000
            cuts += was_cut + twice
        if not was_cut:
            break
    assert cuts > 100


def test_the_alarm_latch_survives_a_power_cut_at_any_operation() -> None:
    cuts = 0
    for cut_at in range(1, 60):
        for seed in range(6):
            fuse, storage = new_fat(f"{cut_at} {seed}")
            control = AlarmControl(Feedback(MemoryIndicator()), storage)
            control.raised(3, 9, 0)
            control.keep()
            control.answer(2, 3, 9, 0)
            was_cut = cut(fuse, storage, cut_at, control.keep)
            after = AlarmControl(Feedback(MemoryIndicator()), storage)
            assert after.load(0)
            assert (after.boot, after.counter) == (3, 9)
            cuts += was_cut
        if not was_cut:
            break
    assert cuts > 30


def test_a_card_that_keeps_no_order_loses_what_was_synced() -> None:
    """The limit: FAT has no order of its own. A card must keep the one in which it got its sectors."""
    broken = 0
    for seed in range(1, 25):
        fuse, storage = new_fat(f"no order {seed}", any_order=True)
        try:
            live(fuse, storage, seed, Totals())
        except (Broken, OSError):
            broken += 1
    assert broken > 0
