"""Entry of an ordinary boot, what firmware/main.py is on a real board: mount the storage, build the board, run."""

import gc
import sys

from .disk import make_disk, mount
from .wire import Wire, read_options

# Collecting early keeps what lives long together while modules are imported, so that large blocks stay free.
_COLLECT_EVERY_BYTES = 4096


def main() -> None:
    """Run the firmware. The first argument is the descriptor of the socket to the world."""
    gc.threshold(_COLLECT_EVERY_BYTES)  # type: ignore[attr-defined,unused-ignore]
    wire = Wire(int(sys.argv[1]))
    options = read_options(wire)
    if options["costs"]:
        from .costs import charge

        charge(wire, options["costs"])  # type: ignore[arg-type]
    mount(make_disk(wire, options), options)
    from .board import SimBoard

    board = SimBoard(wire, options)  # its frame buffer is the largest block: taken before the firmware is imported
    del options
    from lapel_device.runtime import run

    run(board)
