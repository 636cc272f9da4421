"""Makes the simulated board for firmware that lies in a slot of a tray board's own flash.

The hardware around it, the card included, is the world's, as for firmware that runs from a ROM.
"""

import gc

from .disk import make_disk, mount
from .wire import read_options, tray_wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lapel_device.boards import contract

_COLLECT_EVERY_BYTES = 4096


def board() -> "contract.Board":
    """Connect to the world and mount its card."""
    gc.threshold(_COLLECT_EVERY_BYTES)  # type: ignore[attr-defined,unused-ignore]
    wire = tray_wire()
    options = read_options(wire)
    mount(make_disk(wire, options), options)
    from .board import SimBoard

    return SimBoard(wire, options)
