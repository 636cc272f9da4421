"""A whole board in memory, as `boards.contract.Board` asks: the schedule drives inputs and reads outputs."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from lapel_protocol.limits import TICKS_PERIOD

from .fuse import Fuse
from .network import MemoryNetwork
from .storage import make_storage

if TYPE_CHECKING:
    from lapel_device.boards.contract import Accelerometer, Clock, Gnss, Storage

SECTOR_BYTES = 4096


class Profile:
    """A small board, so that limits are met early."""

    name = "inprocess"
    hardware_id = "inprocess"
    max_frame_bytes = 4096
    frame_width = 320
    frame_height = 240
    frame_interval_ms = 500
    audio_rate_hz = 16000
    audio_block_bytes = 640
    chunk_segments = 1
    window_bytes = 3 * 4124
    storage_reserve_bytes = 48 * 1024
    sync_segments = 2


class MemorySectors:
    """Two raw flash sectors; a power cut tears the operation that it hits."""

    count = 2
    size_bytes = SECTOR_BYTES

    def __init__(self, fuse: Fuse) -> None:
        self._fuse = fuse
        self._sectors = [bytearray(b"\xff" * SECTOR_BYTES) for _ in range(self.count)]

    def read(self, index: int, offset: int, buffer: bytearray | memoryview) -> None:
        buffer[:] = self._sectors[index][offset : offset + len(buffer)]

    def erase(self, index: int) -> None:
        sector = self._sectors[index]
        rng = self._fuse.rng

        def torn() -> None:
            share = rng.random()
            for at in range(SECTOR_BYTES):
                if sector[at] != 0xFF and rng.random() < share:
                    sector[at] |= rng.randrange(256)

        self._fuse.step(lambda: sector.__setitem__(slice(None), b"\xff" * SECTOR_BYTES), torn)

    def program(self, index: int, offset: int, data: bytes | bytearray | memoryview) -> None:
        sector = self._sectors[index]
        rng = self._fuse.rng
        wanted = bytes(data)

        def put(size: int) -> None:
            for at in range(size):
                sector[offset + at] &= wanted[at]

        def torn() -> None:
            size = rng.randrange(len(wanted) + 1)
            put(size)
            if size < len(wanted):
                sector[offset + size] &= wanted[size] | rng.randrange(256)

        self._fuse.step(lambda: put(len(wanted)), torn)

    def image(self) -> bytes:
        """Everything that a thief reads."""
        return b"".join(bytes(sector) for sector in self._sectors)


class MemoryClock:
    """Ticks that start anywhere and wrap; a real-time clock that a power cut resets."""

    def __init__(self, start_ticks: int) -> None:
        self._start = start_ticks
        self.now_ms = 0
        self._rtc: tuple[int, int] | None = None

    def ticks_ms(self) -> int:
        return (self._start + self.now_ms) % TICKS_PERIOD

    def rtc_ms(self) -> int:
        return 0 if self._rtc is None else self._rtc[0] + self.now_ms - self._rtc[1]

    def set_rtc_ms(self, unix_ms: int) -> None:
        self._rtc = (unix_ms, self.now_ms)

    def lose_power(self) -> None:
        self._rtc = None


class MemoryButtons:
    """Whoever sets `mask` looks at once, and misses nothing."""

    def __init__(self, clock: Clock) -> None:
        self.mask = 0
        self.ticks = 0
        self._clock = clock

    def look(self) -> bool:
        self.ticks = self._clock.ticks_ms()
        return False


class MemoryIndicator:
    shown = (0, False, 0)

    def set(self, rgb: int, vibrate: bool, buzzer_hz: int) -> None:
        self.shown = (rgb, vibrate, buzzer_hz)


class MemoryCamera:
    """Only switched here; frames are handed to the application by the schedule."""

    running = False

    def start(self, width: int, height: int) -> None:
        self.running = True

    def stop(self) -> None:
        self.running = False

    async def capture(self) -> tuple[memoryview, int, int, int]:
        raise OSError("frames come from the schedule")


class MemoryMicrophone:
    running = False

    def start(self, rate_hz: int) -> None:
        self.running = True

    def stop(self) -> None:
        self.running = False

    def readinto(self, buffer: bytearray | memoryview) -> int:
        return 0


class MemoryBattery:
    percent = 80
    minutes = 300

    def read(self) -> tuple[int, int]:
        return self.percent, self.minutes


class MemoryWatchdog:
    fed = 0

    def feed(self) -> None:
        self.fed += 1


class MemoryBoard:
    """One piece of hardware. It outlives power cuts; the Application on it does not."""

    def __init__(self, rng: random.Random, network: MemoryNetwork, capacity_bytes: int, style: str) -> None:
        self._rng = rng
        self.fuse = Fuse(rng)
        self.profile = Profile()
        self.clock = MemoryClock(rng.randrange(TICKS_PERIOD))
        self.buttons = MemoryButtons(self.clock)
        self.indicator = MemoryIndicator()
        self.camera = MemoryCamera()
        self.microphone = MemoryMicrophone()
        self.battery = MemoryBattery()
        self.sensor: Accelerometer | None = None
        self.receiver: Gnss | None = None
        self.slot_storage: Storage | None = None
        self.sectors = MemorySectors(self.fuse)
        self.storage = make_storage(style, self.fuse, capacity_bytes)
        self.network = network
        self.watchdog = MemoryWatchdog()
        self.console: list[str] = []
        self.resets = 0

    def accelerometer(self) -> Accelerometer | None:
        return self.sensor

    def gnss(self) -> Gnss | None:
        return self.receiver

    def slots(self) -> Storage | None:
        return self.slot_storage

    def entropy(self, size: int) -> bytes:
        return self._rng.randbytes(size)

    def log(self, line: str) -> None:
        self.console.append(line)

    def reset(self) -> None:
        self.console.append("reset asked for")
        self.resets += 1

    def lose_power(self) -> None:
        """What is left on the hardware after a cut."""
        self.fuse.disarm()
        self.storage.lose_power()
        self.clock.lose_power()
        self.camera.stop()
        self.microphone.stop()
        # A device that is suddenly dark says no goodbye: the broker notices now or much later.
        self.network.switch(False, self._rng, self._rng.random() < 0.5)
        self.network.switch(True, self._rng)
        self.buttons.mask = 0
