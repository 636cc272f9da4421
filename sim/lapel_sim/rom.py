"""A ROM image (MicroPython's ROMFS) of a board's compiled code.

On a board the firmware lives in flash, as a ROMFS image or frozen into MicroPython, and its bytecode and constants are
executed in place; only classes, functions and dictionaries take heap. A simulated board does the same, so that the heap
that is measured is the heap that a board needs.
"""

from pathlib import Path

from lapel_build.romfs import rom_image

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
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    (folder / IMAGE_NAME).write_bytes(rom_image({path: content for path, content in files.items() if "/" in path}))
    (folder / START_NAME).write_text(START)
