"""Chooses the firmware that a device runs, at every boot, before anything of it is imported.

On a device this is one file, `/lapel_loader.mpy`, outside of all slots, with the modules of its first two imports in
it (`lapel_build.release` puts them there). Rules that hold here:

- Nothing of a slot is on `sys.path` before the slot was verified whole (`slots.choose_slot`).
- A device that has nothing to run says so on its console and stays at the prompt, where it can be mended.
"""

import os
import sys

from lapel_device.slots import SLOT_ROM, choose_slot, read_key, slot_folder
from lapel_protocol.release import code_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from lapel_device.slots import Running

_NOT_FOUND = 2  # ENOENT


class Files:
    """What the loader needs of the `Storage` of a board, under a root folder: "" or "/flash", no slash at the end."""

    def __init__(self, root: str) -> None:
        self._root = root

    def open(self, path: str, mode: str) -> "Any":
        """Open in a binary mode; raises OSError."""
        return open(self._root + path, mode)

    def size(self, path: str) -> int:
        """Bytes in a file, -1 when there is none."""
        try:
            return os.stat(self._root + path)[6]
        except OSError:
            return -1

    def listdir(self, path: str) -> "Iterable[str]":
        """The names in a folder, none for an absent one. Raises OSError."""
        try:
            return os.listdir(self._root + path)
        except OSError as error:
            if error.errno != _NOT_FOUND:
                raise
            return []


def start(hardware: str, root: str = "") -> "Running | None":
    """Choose a slot for a board of this kind and put it on `sys.path`; None where none can be run, and why on the
    console.
    """
    storage: Any = Files(root)
    rom = slot_folder(SLOT_ROM)
    # MicroPython puts it there by itself, verified or not.
    sys.path[:] = [path for path in sys.path if not path.startswith(rom)]
    try:
        modulus = read_key(storage)
    except OSError:
        say("not provisioned: there is no /update.key; flash this device")
        return None
    try:
        code = code_of(getattr(sys.implementation, "_mpy", 0))
        running = choose_slot(storage, modulus, hardware, code, say)
    except ValueError as error:
        say("not provisioned: /update.key: %s; flash this device" % error)
        return None
    if running is None:
        say("no firmware: no slot holds a version that can be verified; flash this device")
        return None
    slot, trial, number = running[:3]
    sys.path.insert(0, root + slot_folder(slot))
    say("runs number %d from %s%s" % (number, slot_folder(slot), " on trial" if trial else ""))
    return running


def say(line: str) -> None:
    """Print to the console."""
    print("lapel: " + line)  # noqa: T201
