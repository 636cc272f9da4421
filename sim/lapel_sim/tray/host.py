"""Becomes the MicroPython of one tray board: `python -m lapel_sim.tray.host FLASH HEAP_BYTES ROM_BYTES`.

The PyPI `micropython` is a library inside a CPython process, so this process can map the board's flash from a file
outside the heap. What was written is in the file whenever the process ends, as flash keeps it when the power goes.
"""

import ctypes
import mmap
import os
import sys
from pathlib import Path

from lapel_sim.tray import interrupts

FLASH_VARIABLE = "LAPEL_FLASH"
ROM_VARIABLE = "LAPEL_ROM_PARTITION"
START = Path(__file__).parent / "rom" / "start.py"


def main() -> int:
    """Map the flash and become the board."""
    import micropython_run  # type: ignore[import-not-found,import-untyped,unused-ignore]
    from micropython_unix import main as run  # type: ignore[import-not-found,import-untyped,unused-ignore]

    with open(sys.argv[1], "r+b") as image:
        flash = mmap.mmap(image.fileno(), 0)
    address = ctypes.addressof(ctypes.c_char.from_buffer(flash))
    rom_bytes = int(sys.argv[3])
    os.environ[ROM_VARIABLE] = f"{address} {rom_bytes}"
    os.environ[FLASH_VARIABLE] = f"{address + rom_bytes} {len(flash) - rom_bytes}"
    os.environ[interrupts.CELL_VARIABLE] = str(interrupts.install(Path(micropython_run.__file__)))
    sys.argv = ["micropython", "-X", f"heapsize={sys.argv[2]}", "-i", str(START)]
    return int(run() or 0)


if __name__ == "__main__":
    sys.exit(main())
