"""The board's two clocks. The RP2 port counts time from 1970, the ESP32 port from 2000: here it is always Unix time."""

import time

from machine import RTC

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_clock: "Any" = time  # MicroPython's has more than CPython's
_TO_2000_S = 946_684_800
_NEVER_SET_S = 1_704_067_200
"""2024: an RP2040 begins with 2021, an ESP32 with 2000."""


class MachineClock:
    """See contract.Clock."""

    def __init__(self) -> None:
        self.ticks_ms = _clock.ticks_ms
        self._rtc = RTC()
        self._epoch_s = _TO_2000_S if _clock.gmtime(0)[0] == 2000 else 0

    def rtc_ms(self) -> int:
        """Unix milliseconds, 0 when the clock was never set."""
        unix_ms: int = _clock.time_ns() // 1_000_000 + self._epoch_s * 1000
        return unix_ms if unix_ms >= _NEVER_SET_S * 1000 else 0

    def set_rtc_ms(self, unix_ms: int) -> None:
        """Set the clock that TLS reads; its resolution is a second."""
        parts = _clock.gmtime(unix_ms // 1000 - self._epoch_s)
        self._rtc.datetime((parts[0], parts[1], parts[2], parts[6], parts[3], parts[4], parts[5], 0))
