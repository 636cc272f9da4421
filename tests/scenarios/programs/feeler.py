"""Runs on a simulated board: reads its accelerometer and prints every sample, and what the bus says when it fails."""
# ruff: noqa: T201 - the console is how these programs speak

import gc
import sys
import time

from lapel_device.boards.lis3dh import Lis3dh
from lapel_sim.board.bus import I2C
from lapel_sim.board.wire import Wire, read_options

_sleep_ms = time.sleep_ms  # type: ignore[attr-defined,unused-ignore]


def main() -> None:
    """Read a number of bursts, then measure what one more costs the heap, then end."""
    wire = Wire(int(sys.argv[1]))
    read_options(wire)
    bus = I2C(wire)
    byte = bytearray(1)
    sensor = Lis3dh(bus)
    try:
        Lis3dh(bus, 0x19).start()
    except OSError as error:
        print("absent", error.errno)
    sensor.start()
    bursts = 0
    while bursts < int(sys.argv[2]):
        count = sensor.read()
        for at in range(count):
            print("felt", sensor.samples[3 * at], sensor.samples[3 * at + 1], sensor.samples[3 * at + 2])
        bursts += count > 0
        _sleep_ms(20)
    gc.collect()
    gc.disable()
    before = gc.mem_alloc()  # type: ignore[attr-defined,unused-ignore]
    bus.readfrom_mem_into(0x18, 0x0F, byte)
    call = gc.mem_alloc() - before  # type: ignore[attr-defined,unused-ignore]
    _sleep_ms(400)
    before = gc.mem_alloc()  # type: ignore[attr-defined,unused-ignore]
    sensor.read()
    print("cost", gc.mem_alloc() - before, call)  # type: ignore[attr-defined,unused-ignore]
    sensor.stop()
