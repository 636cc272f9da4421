"""Entry of a boot by the loader: the disk is the root of the file system, and its /main.py is run, as on a board.

The board's drivers stay in the ROM, as a port's own are; protocol and firmware come from the slot that the loader
chose, and lie on the heap. The same module is what the disk's /lapel_board.py asks for the board.
"""

import gc
import os
import sys

import vfs

from . import ops
from .disk import make_disk, mount
from .wire import Wire, read_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .board import SimBoard

_COLLECT_EVERY_BYTES = 8192

_boot: "list[tuple[Wire, dict[str, object]]]" = []


def main() -> None:
    """Start. The first argument is the descriptor of the socket to the world."""
    gc.threshold(_COLLECT_EVERY_BYTES)  # type: ignore[attr-defined,unused-ignore]
    wire = Wire(int(sys.argv[1]))
    options = read_options(wire)
    sys.path[:] = ["", ".frozen"]  # and not the ROM, which has other modules under the names of what a slot holds
    vfs.umount("/")
    mount(make_disk(wire, options), options, "/")
    os.chdir("/")
    _boot.append((wire, options))
    with open("/main.py") as file:
        text = file.read()
    exec(text, {"__name__": "__main__"})


def board() -> "SimBoard":
    """The board of this boot."""
    from .board import SimBoard

    wire, options = _boot[0]
    return SimBoard(wire, options)


def reset() -> None:
    """Does not return: the world kills this process and starts it anew."""
    _boot[0][0].call(ops.RESET)
