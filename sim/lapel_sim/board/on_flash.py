"""Makes the simulated board whose identity lies where a real board's does: in the flash that MicroPython itself has.

The key sectors are found by the real boards' driver, configuration and journal are files of the flash, and clips lie on
the card. The card and all other hardware are the world's, as for `from_slot`.
"""

import gc
import os

from lapel_device.boards.key_sectors import key_sectors
from lapel_device.boards.vfs import VfsStorage

from .board import SimBoard
from .disk import MOUNT_POINT, make_disk, make_filesystem, mount
from .wire import Wire, read_options, tray_wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from lapel_device.boards import contract

_COLLECT_EVERY_BYTES = 4096
_CLIPS = "/spool"


class FlashAndCard:
    """The `Storage` of a board with a card: clips on the card, everything else in the flash."""

    def __init__(self) -> None:
        self._flash = VfsStorage("")
        self._card = VfsStorage(MOUNT_POINT)

    def _at(self, path: str) -> VfsStorage:
        return self._card if path.startswith(_CLIPS) else self._flash

    def open(self, path: str, mode: str) -> "Any":
        return self._at(path).open(path, mode)

    def listdir(self, path: str) -> "Iterable[str]":
        return self._at(path).listdir(path)

    def remove(self, path: str) -> None:
        self._at(path).remove(path)

    def mkdir(self, path: str) -> None:
        self._at(path).mkdir(path)

    def size(self, path: str) -> int:
        return self._at(path).size(path)

    def free_bytes(self) -> int:
        return self._card.free_bytes()

    def total_bytes(self) -> int:
        return self._card.total_bytes()


class OwnFlashBoard(SimBoard):
    """A simulated board with an identity of its own."""

    def __init__(self, wire: Wire, options: "dict[str, object]") -> None:
        super().__init__(wire, options)
        chip = os.uname()[4].split(" ")[-1].lower()
        self.sectors: contract.Sectors = key_sectors(chip)
        self.storage: contract.Storage = FlashAndCard()

    def slots(self) -> "contract.Storage | None":
        """The flash."""
        return VfsStorage("")


def board() -> "contract.Board":
    """Connect to the world and mount its card; a new one is formatted."""
    gc.threshold(_COLLECT_EVERY_BYTES)  # type: ignore[attr-defined,unused-ignore]
    wire = tray_wire()
    options = read_options(wire)
    disk = make_disk(wire, options)
    try:
        mount(disk, options)
    except OSError:
        make_filesystem(disk, str(options["filesystem"]))
        mount(disk, options)
    return OwnFlashBoard(wire, options)
