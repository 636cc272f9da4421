"""Runs on a simulated board: feeds its watchdog once and then hangs in a loop that never yields."""
# ruff: noqa: T201 - the console is how these programs speak

import sys

from lapel_sim.board.peripherals import Clock, Watchdog
from lapel_sim.board.wire import Wire, read_options


def main() -> None:
    """Hang."""
    wire = Wire(int(sys.argv[1]))
    options = read_options(wire)
    Watchdog(wire, Clock(int(str(options["base_ms"])))).feed()
    print("hanging")
    while True:
        pass
