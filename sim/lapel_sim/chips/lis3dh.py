"""A register-level model of the LIS3DH accelerometer (ST datasheet DocID17530; application note AN3308 for the FIFO).

Modelled: reset values, read-only and reserved registers, auto-increment with its wrap over the outputs, data rates from
simulated time, the three resolutions and four scales with their saturation, block data update by construction (a read
is one moment), the FIFO's modes with watermark, full and empty flags, the settling of the high-resolution mode, and
the self-test. Not modelled: interrupts, clicks, the high-pass filter, the auxiliary ADC and SPI.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Reading = tuple[int, int, int]
    Source = Callable[[int], Reading]
    """Acceleration at a time in microseconds: x, y, z in mg."""

_RESET = {0x0F: 0x33, 0x1E: 0x10, 0x20: 0x07}  # section 7, Table 21; all others are zero
_READ_ONLY = frozenset([0x27, 0x2F, 0x31, 0x35, 0x39] + list(range(0x07, 0x10)) + list(range(0x28, 0x2E)))
_KNOWN = frozenset(list(range(0x07, 0x10)) + list(range(0x1E, 0x40)))
_PERIODS_US = (0, 1_000_000, 100_000, 40_000, 20_000, 10_000, 5_000, 2_500)
_SCALES_MG = (2000, 4000, 8000, 16000)
_MG_A_DIGIT = ((1, 2, 4, 12), (4, 8, 16, 48), (16, 32, 64, 192))  # Table 4, by resolution: 12, 10, 8 bits
_SHIFTS = (4, 6, 8)
_SELF_TEST_MG = 380
_SETTLING_SAMPLES = 7
_FIFO_SAMPLES = 32
_BYPASS, _FIFO, _STREAM = 0, 1, 2


class WrongRegister(AssertionError):
    """A driver wrote where the datasheet forbids it ("may cause permanent damage", section 7)."""


class Lis3dhChip:
    """One chip. `now_us` is simulated time; `source` the acceleration that its case feels at a time."""

    def __init__(self, now_us: "Callable[[], int]", source: "Source", identity: int = 0x33) -> None:
        self._now_us = now_us
        self._source = source
        self._identity = identity
        self.self_test_mg = _SELF_TEST_MG
        self.power_on()

    def power_on(self) -> None:
        """All registers as after power-up."""
        self._registers = bytearray(0x40)
        for register, value in _RESET.items():
            self._registers[register] = value
        self._registers[0x0F] = self._identity
        self._fifo: list[Reading] = []
        self._latest: Reading = (0, 0, 0)
        self._fresh = self._missed = False
        self._sampled_us = self._now_us()
        self._settling = 0

    # -- what the bus asks --

    def read(self, register: int, size: int) -> bytes:
        """`size` bytes from a register; bit 7 of its address lets the address go on (section 6.1.1)."""
        self._catch_up()
        increment, at = register & 0x80, register & 0x7F
        out = bytearray()
        for _ in range(size):
            out.append(self._value(at))
            if increment:
                at = self._next(at)
        return bytes(out)

    def write(self, register: int, data: bytes) -> None:
        """Write registers; those that only read keep what they have. Raises WrongRegister for reserved ones."""
        self._catch_up()
        increment, at = register & 0x80, register & 0x7F
        for value in data:
            if at not in _KNOWN:
                raise WrongRegister(f"0x{at:02x} is reserved")
            if at not in _READ_ONLY:
                self._set(at, value)
            if increment:
                at = (at + 1) & 0x7F

    def _next(self, at: int) -> int:
        if at == 0x2D and self._fifo_on:
            return 0x28
        return (at + 1) & 0x7F

    def _set(self, at: int, value: int) -> None:
        before = self._registers[at]
        if at == 0x24 and value & 0x80:  # BOOT: the trimming values are loaded again, and the bit clears itself
            value &= 0x7F
        self._registers[at] = value
        if at == 0x20 and (before ^ value) & 0xF8:
            self._sampled_us = self._now_us()
            self._begin()
        elif at == 0x23 and (before ^ value) & 0x3A:
            self._begin()
        elif at in (0x24, 0x2E) and self._fifo_mode == _BYPASS:
            self._fifo.clear()

    def _begin(self) -> None:
        self._settling = _SETTLING_SAMPLES if self._resolution == 0 else 1

    def _value(self, at: int) -> int:
        if at == 0x27:
            return (0x0F if self._fresh else 0) | (0xF0 if self._missed else 0)
        if 0x28 <= at <= 0x2D:
            return self._output(at - 0x28)
        if at == 0x2F:
            count = len(self._fifo)
            watermark = self._registers[0x2E] & 0x1F
            full = count == _FIFO_SAMPLES
            flags = 0x80 * (count > watermark) | 0x40 * full | 0x20 * (not count)
            return flags | min(count, 31)
        return self._registers[at] if at in _KNOWN else 0

    def _output(self, index: int) -> int:
        reading = self._fifo[0] if self._fifo_on and self._fifo else self._latest
        word = self._word(reading[index >> 1])
        high = (index & 1) ^ (self._registers[0x23] >> 6 & 1)  # BLE turns the bytes round
        if index == 5:
            if self._fifo_on and self._fifo:
                self._latest = self._fifo.pop(0)
            self._fresh = self._missed = False
        return word >> 8 if high else word & 0xFF

    def _word(self, mg: int) -> int:
        """The output word, left-justified, saturated at the scale."""
        scale, resolution = self._registers[0x23] >> 4 & 3, self._resolution
        limit = 1 << 15 - _SHIFTS[resolution]
        digits = max(-limit, min(limit - 1, round(mg / _MG_A_DIGIT[resolution][scale])))
        return digits << _SHIFTS[resolution] & 0xFFFF

    # -- time --

    @property
    def _resolution(self) -> int:
        if self._registers[0x20] & 0x08:
            return 2
        return 0 if self._registers[0x23] & 0x08 else 1

    @property
    def _fifo_mode(self) -> int:
        return self._registers[0x2E] >> 6

    @property
    def _fifo_on(self) -> bool:
        return bool(self._registers[0x24] & 0x40) and self._fifo_mode != _BYPASS

    @property
    def period_us(self) -> int:
        """Time between two samples, 0 when the chip is off or has no such rate."""
        code = self._registers[0x20] >> 4
        return _PERIODS_US[code] if code < len(_PERIODS_US) and self._registers[0x20] & 0x07 else 0

    def _catch_up(self) -> None:
        period, now = self.period_us, self._now_us()
        if not period:
            self._sampled_us = now
            return
        due = (now - self._sampled_us) // period
        skipped = max(0, due - _FIFO_SAMPLES - _SETTLING_SAMPLES)  # nobody could ever see these
        self._sampled_us += skipped * period
        self._settling = max(0, self._settling - skipped)
        for _ in range(due - skipped):
            self._sampled_us += period
            self._sample()

    def _sample(self) -> None:
        test = self._registers[0x23] >> 1 & 3
        shift = self.self_test_mg * (1 if test == 1 else -1 if test == 2 else 0)
        axes = self._registers[0x20]
        x, y, z = (mg + shift if axes & 1 << axis else 0 for axis, mg in enumerate(self._source(self._sampled_us)))
        if self._settling:
            self._settling -= 1
            x, y, z = x // 3, y // 3, z // 3  # not yet what it will be
        reading = (x, y, z)
        self._missed, self._fresh = self._fresh, True
        if not self._fifo_on:
            self._latest = reading
            return
        if len(self._fifo) == _FIFO_SAMPLES:
            if self._fifo_mode == _FIFO:
                return  # it stops when it is full (section 5.1.2)
            self._fifo.pop(0)
        self._fifo.append(reading)
