"""Runs on the real MicroPython: lives of a device's storage on its own littlefs and FAT, the power cut all the time.

`test_storage_on_micropython.py` starts it. Arguments: "littlefs-flash", "littlefs-card" or "fat-card", the first seed,
the number of lives: one line of JSON for a broken promise, one with the counts at the end. Or "garbled": what a FAT
folder is to the firmware that holds an entry of no name at all.
"""

import gc
import json
import sys

import vfs
from storage_life import DEVICE, Broken, Dice, Life  # type: ignore[import-not-found]
from torn_medium import Card, Disk, Flash, Fuse, PowerCut, PoweredStorage, Sectors  # type: ignore[import-not-found]

from lapel_device.boards.vfs import VfsStorage
from lapel_device.spool import Spool

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_CUTS = 6  # in one life
_ACTIONS = 10  # at most, between two of them
_BYTES = 400 * 1024
_FAT_BYTES = 4400 * 512  # fewer than 4,085 clusters would be FAT12
_UNIT_BYTES = 128
_ROOT = "/medium"


def tell(**fields: object) -> None:
    """Print one line for the test."""
    print(json.dumps(fields))  # noqa: T201 - the console is how this device talks to its test


class Device:
    """A medium with a file system of one kind."""

    def __init__(self, style: str, fuse: Fuse) -> None:
        self._fat = style == "fat-card"
        if style == "littlefs-flash":
            self._medium: Flash | Card = Flash(fuse, _BYTES // 4096)
        else:
            self._medium = Card(fuse, (_FAT_BYTES if self._fat else _BYTES) // 512, not self._fat)
        self._block_bytes = 512 if self._fat else 4096
        disk = Disk(self._medium, self._block_bytes)
        (vfs.VfsFat if self._fat else vfs.VfsLfs2).mkfs(disk)
        self._medium.sync()

    def boot(self) -> PoweredStorage:
        """Mount what is on the medium."""
        disk = Disk(self._medium, self._block_bytes)
        unit = _UNIT_BYTES
        mounted: Any = (
            vfs.VfsFat(disk) if self._fat else vfs.VfsLfs2(disk, readsize=unit, progsize=unit, lookahead=unit)
        )
        vfs.mount(mounted, _ROOT)
        return PoweredStorage(disk, VfsStorage(_ROOT))

    def lose_power(self, storage: PoweredStorage) -> None:
        """Nothing of this boot goes on."""
        storage.end()
        vfs.umount(_ROOT)
        self._medium.power_on()


def live(style: str, seed: int) -> "tuple[int, int, int]":
    """(cuts, promises looked at, operations) of one life. Raises Broken."""
    dice = Dice(seed)
    fuse = Fuse(dice)
    device = Device(style, fuse)
    life = Life(Sectors(fuse), dice)
    cuts = 0
    for boot in range(_CUTS + 1):
        fuse.blows_at = fuse.operations + 1 + dice.below((40, 300)[dice.below(2)]) if boot < _CUTS else 0
        storage = device.boot()
        try:
            life.boot(storage)
            for _ in range(_ACTIONS):
                life.act()
        except PowerCut:
            cuts += 1
        finally:
            device.lose_power(storage)
    return cuts, life.checked, fuse.operations


def list_garbled() -> None:
    """Scan a spool whose folder grew by a cluster of noise."""
    card = Card(Fuse(Dice(1)), _FAT_BYTES // 512, False)
    disk = Disk(card, 512)
    vfs.VfsFat.mkfs(disk)
    vfs.mount(vfs.VfsFat(disk), _ROOT)
    storage = VfsStorage(_ROOT)
    storage.mkdir("/spool")
    for name in ("00000001.clp", "GARBLED0.XYZ", "00000002.clp"):
        with storage.open("/spool/" + name, "wb") as file:
            file.write(bytes(1000))
    vfs.umount(_ROOT)
    card.sync()
    for sector in list(card.image):
        card.image[sector] = bytes(card.image[sector]).replace(b"GARBLED0XYZ", b"\xaaG\x96\xff\xc3\x28E \xffYZ")
    vfs.mount(vfs.VfsFat(Disk(card, 512)), _ROOT)
    spool = Spool(storage, DEVICE, 1)
    spool.scan()
    tell(names=sorted(storage.listdir("/spool")), foreign=spool.foreign)


def main() -> None:
    """Live them all."""
    style = sys.argv[1]
    if style == "garbled":
        list_garbled()
        return
    first, lives = int(sys.argv[2]), int(sys.argv[3])
    totals = [0, 0, 0]
    for seed in range(first, first + lives):
        try:
            for which, count in enumerate(live(style, seed)):
                totals[which] += count
        except Broken as broken:
            tell(seed=seed, broken=str(broken))
        except Exception as error:  # noqa: BLE001 - whatever the modules under test raise is told, with its seed
            tell(seed=seed, broken=repr(error))
        gc.collect()
    tell(lives=lives, cuts=totals[0], checked=totals[1], operations=totals[2])
