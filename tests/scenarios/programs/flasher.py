"""Runs on a simulated board: erases and programs sector 0, then says so; on later boots says what it finds."""
# ruff: noqa: T201 - the console is how these programs speak

import sys

from lapel_sim.board.peripherals import Sectors
from lapel_sim.board.wire import Wire


def main() -> None:
    """Program a pattern over the whole sector in steps of 64 bytes, then wait for the world's hand."""
    wire = Wire(int(sys.argv[1]))
    sectors = Sectors(wire, 2)
    buffer = bytearray(4096)
    sectors.read(0, 0, buffer)
    print("zeros", sum(1 for byte in buffer if byte != 0xFF))
    sectors.erase(0)
    for offset in range(0, 4096, 64):
        sectors.program(0, offset, bytes(64))
    print("done")
