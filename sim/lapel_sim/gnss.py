"""A GNSS receiver as its UART shows it: two sentences a second while it is on, of the place that a scenario sets."""

from functools import reduce
from operator import xor

_SECOND_MS = 1000
_KEPT_MS = 2000  # what a board's UART buffer holds


def _sentence(body: str) -> bytes:
    return f"${body}*{reduce(xor, body.encode()):02X}\r\n".encode()


def _angle(degrees: float, digits: int, letters: str) -> str:
    minutes = abs(degrees) * 60
    whole = int(minutes // 60)
    return f"{whole:0{digits}d}{minutes - 60 * whole:08.5f},{letters[degrees < 0]}"


class GnssModel:
    """`position` is (latitude, longitude) in degrees, None without a fix. `starts` and `reads` are counted for ever."""

    def __init__(self) -> None:
        self.position: tuple[float, float] | None = None
        self.on = False
        self.starts = 0
        self.reads = 0
        self._from_ms = 0
        self._left = b""

    def power(self, on: bool, at_ms: int) -> None:
        """The device switches the receiver."""
        self.starts += on and not self.on
        self.on = on
        self._from_ms = at_ms
        self._left = b""

    def read(self, room: int, at_ms: int) -> bytes:
        """The device takes what has come until a host time."""
        self.reads += 1
        if not self.on:
            return b""
        self._from_ms = max(self._from_ms, at_ms - _KEPT_MS)
        while self._from_ms + _SECOND_MS <= at_ms:
            self._from_ms += _SECOND_MS
            self._left += self._second(self._from_ms // _SECOND_MS % 86_400)
        given, self._left = self._left[:room], self._left[room:]
        return given

    def _second(self, second: int) -> bytes:
        time = f"{second // 3600:02d}{second // 60 % 60:02d}{second % 60:02d}.00"
        if self.position is None:
            return _sentence(f"GNGGA,{time},,,,,0,00,99.99,,,,,,") + _sentence(f"GNRMC,{time},V,,,,,,,221126,,,N")
        place = f"{_angle(self.position[0], 2, 'NS')},{_angle(self.position[1], 3, 'EW')}"
        fix = _sentence(f"GNGGA,{time},{place},1,08,1.01,50.0,M,48.0,M,,")
        return fix + _sentence(f"GNRMC,{time},A,{place},0.004,77.52,221126,,,A")
