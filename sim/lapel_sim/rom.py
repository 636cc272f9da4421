"""A ROM image (MicroPython's ROMFS) of a board's compiled code.

On a board the firmware lives in flash, as a ROMFS image or frozen into MicroPython, and its bytecode and constants are
executed in place; only classes, functions and dictionaries take heap. A simulated board does the same, so that the heap
that is measured is the heap that a board needs.
"""

from pathlib import Path

from mpremote.romfs import VfsRomWriter  # type: ignore[import-untyped,unused-ignore]

IMAGE_NAME = "board.romfs"
START_NAME = "start.py"

START = '''\
"""Mounts the ROM that the host process mapped, if it did, and runs the module named by the first argument."""
import os
import sys

_rom = os.getenv("LAPEL_ROM")
if _rom:
    import uctypes
    import vfs

    _address, _size = _rom.split(" ")
    vfs.mount(vfs.VfsRom(uctypes.bytearray_at(int(_address), int(_size))), "/rom")
    sys.path.insert(0, "/rom")
del sys.argv[0]
__import__(sys.argv[0])
sys.modules[sys.argv[0]].main()
'''


def write_image(folder: Path) -> None:
    """Write IMAGE_NAME and START_NAME beside the compiled packages in `folder`."""
    image = VfsRomWriter()
    for entry in sorted(folder.iterdir()):
        if entry.is_dir():
            _add(image, entry)
    (folder / IMAGE_NAME).write_bytes(bytes(image.finalise()))
    (folder / START_NAME).write_text(START)


def _add(image: VfsRomWriter, folder: Path) -> None:
    image.opendir(folder.name)
    for entry in sorted(folder.iterdir()):
        if entry.is_dir():
            _add(image, entry)
        else:
            image.mkfile(entry.name, entry.read_bytes())
    image.closedir()
