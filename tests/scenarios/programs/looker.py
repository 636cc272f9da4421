"""Runs on a simulated board: starts the camera and the microphone and prints what it gets, and reads its buttons."""
# ruff: noqa: T201 - the console is how these programs speak

import asyncio
import binascii
import hashlib
import sys

from lapel_sim.board.peripherals import Buttons, Camera, Clock, Microphone, Watchdog
from lapel_sim.board.wire import Wire, read_options


async def look(wire: Wire, frames: int) -> None:
    """Print ticks and hash of each frame, and the hash of all sound."""
    options = read_options(wire)
    profile = options["profile"]
    clock = Clock(int(str(options["base_ms"])))
    camera = Camera(wire, int(profile["max_frame_bytes"]))  # type: ignore[index]
    microphone = Microphone(wire)
    watchdog = Watchdog(wire, clock)
    buttons = Buttons(wire)
    camera.start(640, 480)
    microphone.start(16000)
    sound = hashlib.sha256()
    heard = 0
    block = bytearray(6400)
    for _ in range(frames):
        picture, ticks, width, height = await camera.capture()
        now = clock.ticks_ms()
        digest = binascii.hexlify(hashlib.sha256(picture).digest()).decode()
        print("frame", ticks, len(picture), width, height, digest, now)
        size = microphone.readinto(block)
        while size:
            sound.update(memoryview(block)[:size])
            heard += size
            size = microphone.readinto(block)
        watchdog.feed()
        buttons.look()
        print("buttons", buttons.mask)
    camera.stop()
    microphone.stop()
    print("sound", heard, binascii.hexlify(sound.digest()).decode())


def main() -> None:
    """Look at a number of frames, then end."""
    asyncio.run(look(Wire(int(sys.argv[1])), int(sys.argv[2])))
