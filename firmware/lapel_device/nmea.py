"""NMEA 0183 sentences from a GNSS receiver (GGA and RMC, any talker): bytes in, a checked fix out. No I/O, no floats.

Layouts: NMEA 0183 v4 sections 5.3 and 6, as u-blox' and Quectel's receiver descriptions repeat them. Rules that hold:

- What is fed may be cut anywhere, hostile or noise: it is counted and left out, and nothing here raises.
- A sentence counts only whole: `$` to `*hh`, at most 82 characters, printable, with the right checksum, every field
  within its bounds. Of a refused sentence nothing is kept.
- A byte allocates nothing; the buffer is made once.
- A position is given with its age by the caller's clock and an estimate of its accuracy, and goes with a lost fix.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

MAX_SENTENCE_BYTES: "Final" = 82
"""From `$` to the line's end (section 5.3)."""

ACCURACY_OF_HDOP_CM: "Final" = 500
"""Metres of error (95 %, in cm) by each unit of HDOP: the 2.5 m standard error of single-frequency receivers, twice."""

NO_FIX = 0
_MAX_HDOP = 9999  # hundredths
_DAYS = b"\x1f\x1d\x1f\x1e\x1f\x1e\x1f\x1f\x1e\x1f\x1e\x1f"
_POWERS = (1, 10, 100, 1000, 10_000, 100_000)
_DOT = 0x2E
_COMMA = 0x2C
_STAR = 0x2A
_DOLLAR = 0x24


class Nmea:
    """A receiver's latest fix. `quality` is GGA's (0 = none); angles are in 1e-7 degrees, north and east positive.

    `utc_ms` is the time of day of the fix, `date` its year * 10000 + month * 100 + day (0 = not known yet).
    """

    def __init__(self) -> None:
        self._line = bytearray(MAX_SENTENCE_BYTES)
        self._size = -1  # outside of a sentence
        self._at = 0
        self._end = 0
        self._bad = False
        self.quality = NO_FIX
        self.latitude = 0
        self.longitude = 0
        self.satellites = 0
        self.hdop_hundredths = 0
        self.utc_ms = -1
        self.date = 0
        self.fix_ms = 0
        self.accepted = 0
        self.ignored = 0
        self.refused = 0

    def age_ms(self, now_ms: int) -> int:
        """Milliseconds since the fix was received, -1 when there is none."""
        return now_ms - self.fix_ms if self.quality else -1

    @property
    def accuracy_m(self) -> int:
        """Estimate of the horizontal error in whole metres, rounded up; 0 when there is no fix."""
        return (self.hdop_hundredths * ACCURACY_OF_HDOP_CM + 9999) // 10_000 if self.quality else 0

    def feed(self, data: "bytes | bytearray | memoryview", now_ms: int) -> None:
        """Bytes as they came, in any pieces, received at `now_ms`."""
        for byte in data:
            if byte == _DOLLAR:
                if self._size >= 0:
                    self.refused += 1  # cut short by the next
                self._size = 0
            elif self._size >= 0:
                self._take(byte, now_ms)

    def _take(self, byte: int, now_ms: int) -> None:
        if byte in b"\r\n":
            self._finish(now_ms)
        elif not 0x20 <= byte < 0x7F or self._size >= MAX_SENTENCE_BYTES - 3:
            self.refused += 1
            self._size = -1
        else:
            self._line[self._size] = byte
            self._size += 1

    def _finish(self, now_ms: int) -> None:
        line = self._line
        end = self._size - 3
        self._size = -1
        if end < 6 or line[end] != _STAR:
            self.refused += 1
            return
        check = 0
        for at in range(end):
            check ^= line[at]
        if check != _hex(line[end + 1]) << 4 | _hex(line[end + 2]):
            self.refused += 1
            return
        self._end = end
        self._at = 6
        self._bad = line[5] != _COMMA
        # The talker is two letters, the sentence three.
        kind = line[2] << 16 | line[3] << 8 | line[4]
        if kind == 0x474741:
            self._gga(now_ms)
        elif kind == 0x524D43:
            self._rmc(now_ms)
        else:
            self.ignored += 1

    # -- sentences --

    def _gga(self, now_ms: int) -> None:
        utc_ms = self._time()
        latitude = self._angle(2, 90, 0x4E, 0x53)
        longitude = self._angle(3, 180, 0x45, 0x57)
        quality = self._number(1, 1, 8)
        satellites = self._number(1, 2, 99)
        hdop = self._hundredths()
        if quality and (utc_ms < 0 or latitude is None or longitude is None or hdop < 0 or satellites < 0):
            self._bad = True
        if self._bad or quality < 0:
            self.refused += 1
            return
        self.accepted += 1
        self.quality = quality
        if quality and latitude is not None and longitude is not None:
            self.latitude = latitude
            self.longitude = longitude
            self.satellites = satellites
            self.hdop_hundredths = hdop
            self.utc_ms = utc_ms
            self.fix_ms = now_ms

    def _rmc(self, now_ms: int) -> None:
        utc_ms = self._time()
        status = self._letter()
        latitude = self._angle(2, 90, 0x4E, 0x53)
        longitude = self._angle(3, 180, 0x45, 0x57)
        self._skip()  # speed
        self._skip()  # course
        date = self._date()
        valid = status == 0x41
        if not valid and status != 0x56:
            self._bad = True
        if valid and (utc_ms < 0 or latitude is None or longitude is None or date < 0):
            self._bad = True
        if self._bad:
            self.refused += 1
            return
        self.accepted += 1
        if not valid:
            self.quality = NO_FIX
        elif date > 0:
            self.date = date
            self.utc_ms = utc_ms

    # -- fields: -1 or None for an empty one; a wrong one makes the sentence bad --

    def _width(self) -> int:
        """Characters of the present field."""
        at = self._at
        while at < self._end and self._line[at] != _COMMA:
            at += 1
        return at - self._at

    def _skip(self) -> None:
        if self._at > self._end:
            self._bad = True  # a field is missing
        self._at += self._width() + 1

    def _digits(self, at: int, count: int) -> int:
        value = 0
        for place in range(at, at + count):
            digit = self._line[place] - 0x30 if place < self._end else -1
            if not 0 <= digit <= 9:
                self._bad = True
                return 0
            value = value * 10 + digit
        return value

    def _number(self, least: int, most: int, highest: int) -> int:
        width = self._width()
        value = -1
        if width:
            if not least <= width <= most:
                self._bad = True
            else:
                value = self._digits(self._at, width)
                if value > highest:
                    self._bad = True
        self._skip()
        return value

    def _letter(self) -> int:
        width = self._width()
        found = self._line[self._at] if width == 1 else 0
        if width > 1:
            self._bad = True
        self._skip()
        return found

    def _decimals(self, at: int, end: int, places: int) -> int:
        """The digits after the point as so many places; further ones are cut off. `at` is where the point must be."""
        if at == end:
            return 0
        count = end - at - 1
        if self._line[at] != _DOT or not 1 <= count <= 7:
            self._bad = True
            return 0
        taken = min(count, places)
        value = self._digits(at + 1, taken)
        self._digits(at + 1 + taken, count - taken)
        return value * _POWERS[places - taken]

    def _time(self) -> int:
        """hhmmss[.sss] as milliseconds of the day."""
        width = self._width()
        at = self._at
        found = -1
        if width >= 6:
            hours, minutes, seconds = self._digits(at, 2), self._digits(at + 2, 2), self._digits(at + 4, 2)
            # A leap second is 60.
            if hours > 23 or minutes > 59 or seconds > 60:
                self._bad = True
            found = ((hours * 60 + minutes) * 60 + seconds) * 1000 + self._decimals(at + 6, at + width, 3)
        elif width:
            self._bad = True
        self._skip()
        return found

    def _date(self) -> int:
        """ddmmyy as yyyymmdd; two-digit years are of this century."""
        width = self._width()
        found = -1
        if width == 6:
            day, month, year = (self._digits(self._at + 2 * part, 2) for part in range(3))
            if not 1 <= month <= 12 or not 1 <= day <= _DAYS[month - 1] or (month == 2 and day == 29 and year % 4):
                self._bad = True
            found = (2000 + year) * 10_000 + month * 100 + day
        elif width:
            self._bad = True
        self._skip()
        return found

    def _angle(self, whole: int, most: int, positive: int, negative: int) -> "int | None":
        """d…dmm.mmmm and its letter, in 1e-7 degrees."""
        width = self._width()
        at = self._at
        value = 0
        if width:
            degrees = self._digits(at, whole)
            minutes = self._digits(at + whole, 2)
            if width < whole + 2 or minutes > 59:
                self._bad = True
            # 1e-5 minutes are 1/6 of 1e-6 degrees: kept whole before the division, within 30 bits.
            part = minutes * 100_000 + (0 if self._bad else self._decimals(at + whole + 2, at + width, 5))
            value = degrees * 10_000_000 + (part * 10 + 3) // 6
            if value > most * 10_000_000:
                self._bad = True
        self._skip()
        side = self._letter()
        if not width and not side:
            return None
        if not width or side not in (positive, negative):
            self._bad = True
            return None
        return value if side == positive else -value

    def _hundredths(self) -> int:
        width = self._width()
        at = self._at
        found = -1
        if width:
            point = 0
            while point < width and self._line[at + point] != _DOT:
                point += 1
            if not 1 <= point <= 2:
                self._bad = True
            else:
                found = self._digits(at, point) * 100 + self._decimals(at + point, at + width, 2)
                if found > _MAX_HDOP:
                    self._bad = True
        self._skip()
        return found


def _hex(byte: int) -> int:
    """The value of a hexadecimal digit, 256 for anything else."""
    if 0x30 <= byte <= 0x39:
        return byte - 0x30
    if 0x41 <= byte <= 0x46:
        return byte - 0x37
    return byte - 0x57 if 0x61 <= byte <= 0x66 else 256
