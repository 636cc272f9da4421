"""A real-time clock that TLS goes by, as a board's does (see lapel_sim.tlsclock); loaded where a world asks for it."""

import os
import struct
import time

import uctypes  # type: ignore[import-not-found,unused-ignore]

from .peripherals import Clock


class TlsClock(Clock):
    """Shows what it was switched on with until the firmware sets it."""

    def __init__(self, base_ms: int) -> None:
        super().__init__(base_ms)
        self._cell = uctypes.bytearray_at(int(os.getenv("LAPEL_CLOCK") or "0"), 8)

    def rtc_ms(self) -> int:
        (seconds,) = struct.unpack("<q", self._cell)
        return (int(time.time()) + int(seconds)) * 1000

    def set_rtc_ms(self, unix_ms: int) -> None:
        struct.pack_into("<q", self._cell, 0, unix_ms // 1000 - int(time.time()))
