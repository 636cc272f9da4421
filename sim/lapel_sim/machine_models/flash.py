"""NOR flash behind `rp2.Flash` and `esp32.Partition`: erased to ones, programmed to zeros, with nothing else running.

`rp2.Flash` begins at the file system, as MicroPython's does. An erase holds the interrupts off for 45 ms, and on the
RP2 programming wants whole pages of 256 bytes.
"""

from .clock import clock
from .faults import Misuse
from .wiring import wiring

SECTOR = 4096
_PAGE = 256
_ERASE_US = 45_000
_PROGRAM_US = 400
_COUNT, _SIZE, _ERASE = 4, 5, 6


class NorFlash:
    """A piece of flash as a block device. `stuck` sectors do not program; `weak` ones do not erase; `broken` raises."""

    def __init__(self, sectors: int) -> None:
        self.content = bytearray(b"\xff" * (sectors * SECTOR))
        self.stuck: set[int] = set()
        self.weak: set[int] = set()
        self.broken = False
        self.erases = 0

    def readblocks(self, block: int, buf: "bytearray | memoryview", offset: int = 0) -> int:
        at = self._place(block, offset, len(buf))
        buf[:] = self.content[at : at + len(buf)]
        return 0

    def writeblocks(self, block: int, buf: "bytes | bytearray | memoryview", offset: "int | None" = None) -> int:
        """Without an offset whole blocks are erased first; with one, bits are cleared."""
        if offset is None:
            if len(buf) % SECTOR:
                raise Misuse("whole sectors are written, or an offset is given")
            for sector in range(len(buf) // SECTOR):
                self._erase(block + sector)
        at = self._place(block, offset or 0, len(buf))
        if wiring.port == "rp2" and (at % _PAGE or len(buf) % _PAGE):
            raise Misuse("the RP2 programs whole pages of 256 bytes")
        clock.without_interrupts(_PROGRAM_US * (1 + len(buf) // _PAGE))
        for index in range(len(buf)):
            if (at + index) // SECTOR not in self.stuck:
                self.content[at + index] &= buf[index]
        return 0

    def ioctl(self, op: int, arg: int) -> "int | None":
        if op == _COUNT:
            return len(self.content) // SECTOR
        if op == _SIZE:
            return SECTOR
        if op == _ERASE:
            self._erase(arg)
        return 0

    def _erase(self, sector: int) -> None:
        at = self._place(sector, 0, SECTOR)
        clock.without_interrupts(_ERASE_US)
        self.erases += 1
        if sector not in self.weak:
            self.content[at : at + SECTOR] = b"\xff" * SECTOR

    def _place(self, block: int, offset: int, size: int) -> int:
        if self.broken:
            raise OSError(5)
        at = block * SECTOR + offset
        if block < 0 or offset < 0 or at + size > len(self.content):
            raise Misuse("outside of the flash")
        return at


def whole_flash() -> NorFlash:
    """What `rp2.Flash()` is on this board."""
    found = wiring.part("flash")
    if not isinstance(found, NorFlash):
        raise Misuse("no flash")
    return found


class Partition:
    """`esp32.Partition`: pieces of flash by their label, as a test put them into `wiring.parts["partitions"]`."""

    TYPE_APP = 0
    TYPE_DATA = 1

    def __init__(self, label: str, flash: NorFlash) -> None:
        self._label = label
        self._flash = flash
        self.readblocks = flash.readblocks
        self.writeblocks = flash.writeblocks
        self.ioctl = flash.ioctl

    def info(self) -> "tuple[int, int, int, int, str, bool]":
        return 1, 0x81, 0x200000, len(self._flash.content), self._label, False

    @staticmethod
    def find(
        type: int = 0, subtype: int = 0xFF, label: "str | None" = None, block_size: int = SECTOR
    ) -> "list[Partition]":
        table = wiring.part("partitions")
        if not isinstance(table, dict):
            raise Misuse("no partition table")
        return [Partition(name, flash) for name, flash in table.items() if type == 1 and label in (None, name)]
