"""What MicroPython's own start does on a board: mount the flash at /, run /boot.py, then /main.py, then the REPL.

The host process maps the flash as memory and names it in LAPEL_FLASH, "address size". Hardware that the interpreter
lacks comes from the modules beside this one, which are imported while the host's file system is still there.
"""

import os
import sys

import machine
import rom_vfs  # type: ignore[import-not-found,unused-ignore]
import vfs
from flash import Flash  # type: ignore[import-not-found,unused-ignore]

if os.uname()[4].endswith("ESP32S3"):
    import esp32  # noqa: F401
else:
    import rp2  # noqa: F401


def mount() -> None:
    """Put the flash where the host's file system was; an empty flash is formatted, as a board does."""
    flash = Flash()
    vfs.umount("/")
    try:
        vfs.mount(vfs.VfsLfs2(flash, progsize=256), "/")
    except OSError:
        vfs.VfsLfs2.mkfs(flash)
        vfs.mount(vfs.VfsLfs2(flash, progsize=256), "/")
    os.chdir("/")
    sys.path[:] = ["", ".frozen", "/lib"]
    rom_vfs.mount_rom()


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
