"""What MicroPython's own start does on a board: mount the flash at /, run /boot.py, then /main.py, then the REPL.

The host process maps the flash as memory and names it in LAPEL_FLASH, "address size". Hardware that the interpreter
lacks comes from the modules beside this one, which are imported while the host's file system is still there.
"""

import os
import sys

import machine
import uctypes  # type: ignore[import-not-found,unused-ignore]
import vfs

BLOCK_BYTES = 4096


class Flash:
    """A board's flash behind the block protocol of MicroPython, read and written in place."""

    def __init__(self, address: int, size: int) -> None:
        self._content = memoryview(uctypes.bytearray_at(address, size))

    def readblocks(self, block: int, buffer: bytearray, offset: int = 0) -> None:
        at = block * BLOCK_BYTES + offset
        buffer[:] = self._content[at : at + len(buffer)]

    def writeblocks(self, block: int, buffer: bytearray, offset: int = 0) -> None:
        at = block * BLOCK_BYTES + offset
        self._content[at : at + len(buffer)] = buffer

    def ioctl(self, operation: int, argument: int) -> int:
        if operation == 6:
            at = argument * BLOCK_BYTES
            self._content[at : at + BLOCK_BYTES] = b"\xff" * BLOCK_BYTES
        return {4: len(self._content) // BLOCK_BYTES, 5: BLOCK_BYTES}.get(operation, 0)


def mount() -> None:
    """Put the flash where the host's file system was; an empty flash is formatted, as a board does."""
    address, size = os.environ_flash()  # type: ignore[attr-defined]
    flash = Flash(address, size)
    vfs.umount("/")
    try:
        vfs.mount(vfs.VfsLfs2(flash, progsize=256), "/")
    except OSError:
        vfs.VfsLfs2.mkfs(flash)
        vfs.mount(vfs.VfsLfs2(flash, progsize=256), "/")
    os.chdir("/")
    sys.path[:] = ["", ".frozen", "/lib"]


def run(name: str) -> None:
    """Run a file of the flash, if it is there; leaving it by SystemExit is a soft reset."""
    try:
        os.stat(name)
    except OSError:
        return
    try:
        execfile(name)  # type: ignore[name-defined] # noqa: F821 - MicroPython's own
    except SystemExit:
        machine.soft_reset()


mount()
run("/boot.py")
if not machine.raw_repl():  # type: ignore[attr-defined]
    run("/main.py")
