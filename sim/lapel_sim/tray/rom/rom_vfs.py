"""MicroPython's `vfs`, with the ROM partition of a board whose MicroPython was built with one.

The port for the RP2 hands out its flash object, with the block protocol; so does this.
"""

import os
import sys

import uctypes  # type: ignore[import-not-found,unused-ignore]
from flash import Flash  # type: ignore[import-not-found,unused-ignore]
from vfs import VfsFat, VfsLfs2, VfsRom, mount, umount  # type: ignore[attr-defined,unused-ignore]  # noqa: F401

_PART = "LAPEL_ROM_PARTITION"
_COUNT = 1
_GET = 2
_INVALID = -22


def rom_ioctl(operation: int, *arguments: int) -> "int | Flash":
    """How many ROM partitions there are, or the only one."""
    if not os.memory_of(_PART)[1]:  # type: ignore[attr-defined]
        return _INVALID
    if operation == _COUNT:
        return 1
    return Flash(_PART) if operation == _GET and arguments == (0,) else _INVALID


def mount_rom() -> None:
    """What MicroPython does at its start: mount what lies in the partition, if it can be, and import from it too."""
    address, size = os.memory_of(_PART)  # type: ignore[attr-defined]
    if not size:
        return
    try:
        mount(VfsRom(uctypes.bytearray_at(address, size)), "/rom")
    except (OSError, ValueError):
        return
    sys.path += ["/rom", "/rom/lib"]


sys.modules["vfs"] = sys.modules[__name__]
