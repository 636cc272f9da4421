"""`machine`'s own functions, RTC and WDT, and `bitstream` for WS2812."""

import utime  # type: ignore[import-not-found,unused-ignore]

from .clock import clock
from .faults import Misuse
from .pin import Pin
from .wiring import wiring

PWRON_RESET = 1
WDT_RESET = 3
SOFT_RESET = 5
_RP2_WDT_MS = 8388


class Reset(BaseException):
    """The board restarts here."""


def reset() -> None:
    """Does not return."""
    wiring.resets += 1
    raise Reset("by the program")


def reset_cause() -> int:
    return PWRON_RESET


def unique_id() -> bytes:
    return b"\xe6\x61\x4c\x31\x1b\x7e\x2f\x2d" if wiring.port == "rp2" else b"\x34\x85\x18\x6a\x2b\xc4"


class RTC:
    """Calendar fields, whatever the epoch; weeks begin on Monday = 0."""

    def datetime(self, value: "tuple[int, ...] | None" = None) -> "tuple[int, ...]":
        if value is None:
            parts = utime.gmtime((clock.wall_us + clock.now_us) // 1_000_000)
            return (parts[0], parts[1], parts[2], parts[6], parts[3], parts[4], parts[5], 0)
        if len(value) != 8:
            raise ValueError("requested length 8 but object has length %d" % len(value))
        unix_s = utime.mktime((value[0], value[1], value[2], value[4], value[5], value[6], 0, 0))
        clock.wall_us = unix_s * 1_000_000 - clock.now_us
        return ()


class WDT:
    """Once made it cannot be stopped; the board restarts when it is not fed in time."""

    def __init__(self, id: int = 0, timeout: int = 5000) -> None:
        if wiring.port == "rp2" and not 1 <= timeout <= _RP2_WDT_MS:
            raise ValueError("timeout exceeds %d" % _RP2_WDT_MS)
        self._timeout_us = timeout * 1000
        wiring.parts["watchdog"] = self
        self.feed()
        clock.at(self._timeout_us, self._look)

    def feed(self) -> None:
        self._fed_us = clock.now_us

    def _look(self) -> None:
        if wiring.parts.get("watchdog") is not self:
            return
        left_us = self._fed_us + self._timeout_us - clock.now_us
        if left_us > 0:
            clock.at(left_us, self._look)
            return
        wiring.resets += 1
        raise Reset("by the watchdog")


def bitstream(pin: Pin, encoding: int, timing: "tuple[int, int, int, int]", data: "bytes | bytearray") -> None:
    """High and low times of a 0 and of a 1 in ns; a WS2812B wants each within 150 ns of its own (datasheet V1)."""
    if encoding != 0:
        raise ValueError("unknown encoding")
    for given, wanted in zip(timing, (400, 850, 800, 450)):
        if abs(given - wanted) > 150:
            raise Misuse("a WS2812 does not understand %s ns" % given)
    line = wiring.line(pin.id)
    if line.inside is None:
        raise Misuse("pin %s is written, but it is an input" % pin.id)
    clock.without_interrupts(len(data) * 10)
    line.pixels = bytes(data)
