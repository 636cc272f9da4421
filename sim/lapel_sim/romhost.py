"""Runs the PyPI `micropython` program with a ROM: `python -m lapel_sim.romhost IMAGE [micropython's own arguments]`.

That program is a library inside a CPython process, so this process can map a file outside the device's heap, as flash
is on a board, and tell the device where it is. MicroPython then executes the board's code in place.
"""

import ctypes
import mmap
import os
import sys
import time
from pathlib import Path

from lapel_sim import tlsclock

ADDRESS_VARIABLE = "LAPEL_ROM"


def main() -> int:
    """Map the image and become the device."""
    from micropython_unix import main as run  # type: ignore[import-not-found,import-untyped,unused-ignore]

    with open(sys.argv[1], "rb") as image:
        rom = mmap.mmap(image.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(rom))
    os.environ[ADDRESS_VARIABLE] = f"{address} {len(rom)}"
    start_s = os.environ.get(tlsclock.START_VARIABLE)
    if start_s is not None:
        import micropython_run  # type: ignore[import-not-found,import-untyped,unused-ignore]

        cell = tlsclock.install(Path(micropython_run.__file__))
        tlsclock.set_cell(cell, int(start_s) - int(time.time()))
        os.environ[tlsclock.CELL_VARIABLE] = str(cell)
    sys.argv = ["micropython", *sys.argv[2:]]
    return int(run() or 0)


if __name__ == "__main__":
    sys.exit(main())
