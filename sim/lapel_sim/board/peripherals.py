"""The small peripherals of the board contract, each a thin caller of the world."""

import asyncio
import time

from . import ops

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .wire import Wire

    Writable = bytearray | memoryview

_TICKS_MASK = (1 << 30) - 1
_FEED_EVERY_MS = 250
_host_ms = time.ticks_ms  # type: ignore[attr-defined,unused-ignore]  # MicroPython's; CLOCK_MONOTONIC, which the world reads too


class Profile:
    """The board's fixed facts, from the options that the world sent."""

    name: str
    hardware_id: str
    max_frame_bytes: int
    frame_width: int
    frame_height: int
    frame_interval_ms: int
    audio_rate_hz: int
    audio_block_bytes: int
    chunk_segments: int
    window_bytes: int
    storage_reserve_bytes: int
    sync_segments: int

    def __init__(self, facts: "dict[str, object]") -> None:
        for name, value in facts.items():
            setattr(self, name, value)


class Clock:
    """Ticks that start where the world says, so that their wrap at 2^30 is met in every run; an RTC that forgets at
    power-off.
    """

    def __init__(self, base_ms: int) -> None:
        """`base_ms`: the host's monotonic clock at which this device's ticks are 0."""
        self._base_ms = base_ms
        self._rtc_offset_ms = 0

    def ticks_ms(self) -> int:
        return int(_host_ms() - self._base_ms) & _TICKS_MASK

    def rtc_ms(self) -> int:
        return _host_ms() + self._rtc_offset_ms if self._rtc_offset_ms else 0

    def set_rtc_ms(self, unix_ms: int) -> None:
        self._rtc_offset_ms = unix_ms - _host_ms()


class Buttons:
    def __init__(self, wire: "Wire") -> None:
        self._wire = wire
        self.mask = 0
        self.ticks = 0

    def look(self) -> bool:
        seen = self._wire.call(ops.BUTTONS)
        self.mask = seen & ~ops.MISSED
        self.ticks = self._wire.extra
        return bool(seen & ops.MISSED)


class Indicator:
    def __init__(self, wire: "Wire") -> None:
        self._wire = wire

    def set(self, rgb: int, vibrate: bool, buzzer_hz: int) -> None:
        self._wire.call(ops.INDICATOR, 1 if vibrate else 0, rgb, buzzer_hz)


class Camera:
    """JPEG frames of the world's footage, in the one frame buffer of this board."""

    def __init__(self, wire: "Wire", max_frame_bytes: int) -> None:
        self._wire = wire
        self._buffer = bytearray(max_frame_bytes)
        self._view = memoryview(self._buffer)
        self._width = 0
        self._height = 0

    def start(self, width: int, height: int) -> None:
        self._wire.call(ops.CAMERA_START, 0, width, height)
        self._width = width
        self._height = height

    def stop(self) -> None:
        self._wire.call(ops.CAMERA_STOP)

    async def capture(self) -> "tuple[memoryview, int, int, int]":
        wait_ms = self._wire.call(ops.CAMERA_WAIT)
        while wait_ms:
            await asyncio.sleep(wait_ms / 1000)
            wait_ms = self._wire.call(ops.CAMERA_WAIT)
        size = self._wire.call(ops.CAMERA_FETCH, into=self._buffer)
        return self._view[:size], self._wire.extra, self._width, self._height


class Microphone:
    def __init__(self, wire: "Wire") -> None:
        self._wire = wire

    def start(self, rate_hz: int) -> None:
        self._wire.call(ops.MICROPHONE_START, 0, rate_hz)

    def stop(self) -> None:
        self._wire.call(ops.MICROPHONE_STOP)

    def readinto(self, buffer: "Writable") -> int:
        return self._wire.call(ops.MICROPHONE_READ, into=buffer)


class Battery:
    def __init__(self, wire: "Wire") -> None:
        self._wire = wire

    def read(self) -> "tuple[int, int]":
        percent = self._wire.call(ops.BATTERY)
        return percent, self._wire.extra


class Sectors:
    """Raw flash of the world: erase sets bits, program clears them."""

    size_bytes = 4096

    def __init__(self, wire: "Wire", count: int) -> None:
        self._wire = wire
        self.count = count

    def read(self, index: int, offset: int, buffer: "Writable") -> None:
        self._wire.call(ops.SECTOR_READ, index, offset, into=buffer)

    def erase(self, index: int) -> None:
        self._wire.call(ops.SECTOR_ERASE, index)

    def program(self, index: int, offset: int, data: "bytes | bytearray | memoryview") -> None:
        self._wire.call(ops.SECTOR_PROGRAM, index, offset, data=data)


class Watchdog:
    """Feeds the world's watchdog; the world may answer that it wants the heap's state on the console."""

    def __init__(self, wire: "Wire", clock: Clock) -> None:
        self._wire = wire
        self._clock = clock
        self._fed = clock.ticks_ms() - _FEED_EVERY_MS

    def feed(self) -> None:
        now = self._clock.ticks_ms()
        if (now - self._fed) & _TICKS_MASK < _FEED_EVERY_MS:
            return
        self._fed = now
        if self._wire.call(ops.FEED):
            from .heap import report

            report()
