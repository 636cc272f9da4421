"""Runs on a simulated board, at a device's heap size: its self-tests one after the other, or its way to the gateway."""
# ruff: noqa: T201 - the console is how these programs speak

import gc
import sys

from lapel_sim.board.disk import make_disk, mount
from lapel_sim.board.wire import Wire, read_options

_STEP_MS = 1000


def main() -> None:
    """Print what each test says, with a mark. Arguments: the tests as section.function, or "gateway" and seconds."""
    gc.threshold(4096)  # type: ignore[attr-defined,unused-ignore]
    wire = Wire(int(sys.argv[1]))
    options = read_options(wire)
    mount(make_disk(wire, options), options)
    from lapel_sim.board.board import SimBoard

    board = SimBoard(wire, options)
    del options
    from lapel_device.boards import self_test

    if sys.argv[2] == "gateway":
        from lapel_device.boards.self_test.gateway import RoundTrip

        trip = RoundTrip(board)
        for _ in range(int(sys.argv[3])):
            self_test.run(trip.live, board, _STEP_MS)
        return
    for name in sys.argv[2:]:
        section, _, function = name.partition(".")
        module = __import__("lapel_device.boards.self_test." + section, None, None, (function,))
        self_test.run(getattr(module, function), board)
        del module
        self_test.leave(section)
    print("free", gc.mem_free())  # type: ignore[attr-defined,unused-ignore]
