"""Two raw flash sectors for the key store, on a board as its maker sells it, with MicroPython's official image.

A file system keeps old copies, so keys are not files. But an official image gives the whole flash behind it to
littlefs, and makes that anew at start when it is any smaller. So each sector is held by a file of exactly one block,
which littlefs never moves, since it rewrites only what is written: under the file's name the sector is the device's
own, and is erased and programmed past the file system. Rules that hold here:

- `reserve` makes the files once, filled with random bytes by which their blocks are then found in the flash.
- `find` compares both files with their blocks before it gives them out; what does not agree is OSError.
- A partition named "keys" (ESP32, where a partition table has one) is used instead, if there is one.
"""

import os

from .vfs import VfsStorage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    Bytes = bytes | bytearray | memoryview
    Writable = bytearray | memoryview

    class Flash(Protocol):
        """A block device of MicroPython's that programs without an erase when it is given an offset."""

        def readblocks(self, block: int, buf: Writable, offset: int = ..., /) -> "int | None": ...

        def writeblocks(self, block: int, buf: Bytes, offset: int = ..., /) -> "int | None": ...

        def ioctl(self, op: int, arg: int, /) -> "int | None": ...


SECTOR_BYTES = 4096
_FILES = ("/keys.0", "/keys.1")
_MAP = "/keys.map"
_PAGE_BYTES = 256
_COUNT = 4
_ERASE = 6
_EIO = 5
_ENODEV = 19
_MARK_BYTES = 32


class FlashSectors:
    """The `Sectors` of a board. `blocks`: which blocks of the flash they are; without any, every call is ENODEV."""

    size_bytes = SECTOR_BYTES

    def __init__(self, flash: "Flash", blocks: "tuple[int, ...]") -> None:
        self.count = 2
        self.blocks = blocks
        self._flash = flash
        self._page = bytearray(_PAGE_BYTES)

    def read(self, index: int, offset: int, buffer: "Writable") -> None:
        """See contract.Sectors."""
        self._flash.readblocks(self._block(index), buffer, offset)

    def erase(self, index: int) -> None:
        """See contract.Sectors; about 50 ms with interrupts off."""
        if self._flash.ioctl(_ERASE, self._block(index)):
            raise OSError(_EIO)

    def program(self, index: int, offset: int, data: "Bytes") -> None:
        """See contract.Sectors. The RP2 programs whole pages: what is not meant stays as it is under ones."""
        block = self._block(index)
        page = self._page
        at = 0
        while at < len(data):
            place = (offset + at) % _PAGE_BYTES
            size = min(len(data) - at, _PAGE_BYTES - place)
            for fill in range(_PAGE_BYTES):
                page[fill] = 0xFF
            page[place : place + size] = data[at : at + size]
            if self._flash.writeblocks(block, page, offset + at - place):
                raise OSError(_EIO)
            at += size
        for fill in range(_PAGE_BYTES):
            page[fill] = 0  # no key stays here

    def _block(self, index: int) -> int:
        if index >= len(self.blocks):
            raise OSError(_ENODEV)
        return self.blocks[index]


def board_flash(chip: str) -> "tuple[Flash, bool]":
    """The flash behind the file system, or the partition that is the keys' own, and whether it is that."""
    if chip.startswith("esp32"):
        from esp32 import Partition

        for label in ("keys", "vfs"):
            found = Partition.find(Partition.TYPE_DATA, label=label)
            if found:
                return found[0], label == "keys"
        raise OSError(_ENODEV)
    from rp2 import Flash as Rp2Flash

    return Rp2Flash(), False  # type: ignore[return-value,unused-ignore]


def key_sectors(chip: str) -> FlashSectors:
    """The board's key sectors; where they were never reserved, sectors that answer ENODEV. Never raises."""
    try:
        flash, own = board_flash(chip)
        return FlashSectors(flash, (0, 1)) if own else find(flash)
    except (OSError, ValueError):
        return FlashSectors(_NoFlash(), ())


def reserved_sectors(chip: str) -> FlashSectors:
    """The board's key sectors, made now if they were not there. Raises OSError."""
    flash, own = board_flash(chip)
    return FlashSectors(flash, (0, 1)) if own else reserve(flash)


class _NoFlash:
    """Stands where there is no flash to speak of."""

    def readblocks(self, block: int, buf: "Writable", offset: int = 0) -> "int | None":
        raise OSError(_ENODEV)

    def writeblocks(self, block: int, buf: "Bytes", offset: int = 0) -> "int | None":
        raise OSError(_ENODEV)

    def ioctl(self, op: int, arg: int) -> "int | None":
        raise OSError(_ENODEV)


def find(flash: "Flash", root: str = "") -> FlashSectors:
    """The sectors that `reserve` made, in the file system at `root` on this flash. Raises OSError, ValueError."""
    with open(root + _MAP) as source:
        blocks = tuple([int(word) for word in source.read(32).split()])
    if len(blocks) != len(_FILES) or blocks[0] == blocks[1]:
        raise OSError(_EIO)
    for index in range(len(_FILES)):
        if not _agrees(flash, blocks[index], root + _FILES[index]):
            raise OSError(_EIO)
    return FlashSectors(flash, blocks)


def reserve(flash: "Flash", root: str = "") -> FlashSectors:
    """Make the sectors unless they are there: once, when a device is provisioned. Raises OSError."""
    try:
        return find(flash, root)
    except (OSError, ValueError):
        pass  # then they are made
    storage = VfsStorage(root)
    blocks = []
    for name in (_MAP, _FILES[0], _FILES[1]):
        if storage.size(name) >= 0:
            storage.remove(name)
    for name in _FILES:
        mark = os.urandom(_MARK_BYTES)
        with open(root + name, "wb") as out:
            for _ in range(SECTOR_BYTES // _MARK_BYTES):
                out.write(mark)
        blocks.append(_place(flash, mark, root + name))
    with open(root + _MAP, "w") as out:
        out.write("%d %d" % (blocks[0], blocks[1]))
    return find(flash, root)


def _place(flash: "Flash", mark: bytes, path: str) -> int:
    """The block that a file fills. Raises OSError when no block does: another file system than littlefs."""
    begins = bytearray(len(mark))
    for block in range(flash.ioctl(_COUNT, 0) or 0):
        flash.readblocks(block, begins, 0)
        if begins == mark and _agrees(flash, block, path):
            return block
    raise OSError(_EIO)


def _agrees(flash: "Flash", block: int, path: str) -> bool:
    """Whether a file is one block long and has what stands in that block."""
    there = bytearray(_PAGE_BYTES)
    with open(path, "rb") as source:
        for at in range(0, SECTOR_BYTES, _PAGE_BYTES):
            flash.readblocks(block, there, at)
            if source.read(_PAGE_BYTES) != there:
                return False
        return not source.read(1)
