"""Runs on the real MicroPython: the whole firmware on a real board's `board()`, over models of its parts.

`test_boards.py` starts it. Arguments: the board's module, what is done with it, the path of its files as JSON
{path: text}, and the keys that it is provisioned with, in hex.
"""

import asyncio
import binascii
import gc
import json
import os
import sys

from lapel_sim.machine_models import loop
from lapel_sim.machine_models.bench import Bench
from lapel_sim.machine_models.clock import clock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def tell(**fields: object) -> None:
    """Print one line for the test."""
    print(json.dumps(fields))  # noqa: T201 - the console is how this device talks to its test


def live() -> int:
    """Bytes on the heap after a collection."""
    gc.collect()
    return int(gc.mem_alloc())  # type: ignore[attr-defined,unused-ignore]


def clips() -> None:
    """Every clip on the card, in pieces that a line bears."""
    try:
        names = os.listdir("/sd/spool")
    except OSError:
        names = []
    for name in names:
        with open("/sd/spool/" + name, "rb") as source:
            while True:
                piece = source.read(4096)
                if not piece:
                    break
                tell(clip=name, piece=binascii.hexlify(piece).decode())


def look_at_parts(board: "Any") -> None:
    """What a self-test would ask: each part's name, or how it is."""
    blocks = board.sectors.blocks
    assert board.reserve_sectors().blocks == blocks, "they are there"
    sensor = board.accelerometer()
    samples = 0
    if sensor is not None:
        sensor.start()
        for _ in range(20):
            clock.advance(200_000)
            samples += sensor.read()
    receiver = board.gnss()
    if receiver is not None:
        receiver.start()
        receiver.stop()
    tell(
        card=board.card.name if board.card else "",
        capacity=board.card.capacity if board.card else 0,
        camera=board.camera.sensor,
        rssi=board.wifi.rssi(),
        wifi=board.wifi.joined,
        battery=board.battery.read()[0],
        millivolts=board.battery.millivolts,
        samples=samples,
        mg=list(sensor.samples[:3]) if sensor is not None else [],
        gnss=receiver is not None,
        modem=board.modem is not None,
        entropy=len({board.entropy(32) for _ in range(3)}),
        overruns=getattr(board.microphone, "overruns", 0),
    )


def act(bench: Bench, what: str) -> int:
    """Set up what will happen; returns after how many ms the run ends."""
    if what == "record":
        bench.press("record_button", 1000, 1800)
        bench.press("record_button", 8000, 1800)
        return 12_000
    if what == "alarm":
        bench.press("alarm_button", 1000, 2500)
        return 8_000
    if what == "broken":
        bench.set({"cell_mv": 0, "point": {"up": False}})
        for name in ("card", "camera", "sensor", "microphone"):
            if getattr(bench, name) is not None:
                bench.set({name: {"present": False}})
        bench.press("record_button", 1000, 1800)
        bench.press("alarm_button", 5000, 2500)
        return 10_000
    if what == "unplugged":
        bench.press("record_button", 1000, 1800)

        def unplug() -> None:
            for part in (bench.card, bench.camera, bench.sensor):
                if part is not None:
                    part.present = False

        clock.at(6_000_000, unplug)
        return 10_000
    if what == "tamper":
        bench.open_case(2000)
        return 6_000
    return 3_000


async def live_for(runtime: "Any", ms: int) -> None:
    """Run the firmware for so long in simulated time."""
    clock.at(ms * 1000, lambda: setattr(runtime, "stopped", True))
    await runtime.run()


def main() -> None:
    """See above."""
    name, what, path = sys.argv[1:4]
    with open(path) as source:
        files = json.load(source)
    module = __import__("lapel_device.boards." + name, None, None, ("board",))
    bench = Bench(module.BOARD, module.PINS)
    bench.put_files({path: content.encode() for path, content in files.items()})
    from lapel_device.boards.key_sectors import reserved_sectors
    from lapel_device.keystore import provision_sectors

    chain_key, pool = sys.argv[4:6]
    provision_sectors(reserved_sectors(module.BOARD["chip"]), bytes.fromhex(chain_key), bytes.fromhex(pool))
    for hardware in ("machine", "network", "camera", "select", "socket", "tls", "time"):
        __import__(hardware)  # on a board these cost no heap
    before = live()
    begun_us = clock.now_us
    board = module.board()
    tell(boot_ms=(clock.now_us - begun_us) // 1000, heap=live() - before, hardware=board.profile.hardware_id)
    from lapel_device.application import Application
    from lapel_device.runtime import Runtime

    runtime = Runtime(board, Application(board))
    ends_ms = act(bench, what)
    bench.watch()
    begun_ms = clock.now_us // 1000
    loop.install()
    loop.watch_steps()
    asyncio.run(live_for(runtime, ends_ms))
    status = runtime.application.status()
    tell(
        fault=status.fault,
        alarm=status.alarm,
        recording=status.recording,
        clip=status.clip,
        frames=status.frames,
        events=status.events_held,
        longest_ms=loop.longest_us() // 1000,
        up=board.network.is_up(),
    )
    if what == "nothing":
        look_at_parts(board)
    for at_ms, rgb, vibrating, hertz in bench.shown:
        tell(at=at_ms - begun_ms, rgb=rgb, vibrating=vibrating, hertz=hertz)
    clips()
