"""`machine.SPI` and `machine.SoftSPI`: bytes to whichever chip is selected, at the speed of the clock."""

from .clock import clock
from .faults import Misuse
from .pin import number_of
from .wiring import wiring

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .wiring import SpiChip

    Exchange = Callable[[int], int]
    Bytes = bytes | bytearray | memoryview
    Writable = bytearray | memoryview

# RP2040 datasheet section 1.4.3, table 2: what each SPI can have; rows of SCK, TX, RX.
_RP2_PINS = (
    ((2, 6, 18, 22), (3, 7, 19, 23), (0, 4, 16, 20)),
    ((10, 14, 26), (11, 15, 27), (8, 12, 24, 28)),
)
_BULK = 16
_CALL_US = 6
"""What a transfer costs beside its bits: the call, and handing the buffer over."""


class SoftSPI:
    """A bus on any pins; slow."""

    MSB = 0
    LSB = 1

    def __init__(
        self,
        baudrate: int = 500_000,
        *,
        polarity: int = 0,
        phase: int = 0,
        bits: int = 8,
        firstbit: int = 0,
        sck: object = None,
        mosi: object = None,
        miso: object = None,
    ) -> None:
        self._pins = (number_of(sck), number_of(mosi), number_of(miso))
        self._bulk: SpiChip | None = None
        self._polarity = 0
        self._phase = 0
        self.init(baudrate, polarity=polarity, phase=phase, bits=bits, firstbit=firstbit)

    def init(
        self, baudrate: int = -1, *, polarity: int = -1, phase: int = -1, bits: int = -1, firstbit: int = -1
    ) -> None:
        if bits not in (-1, 8) or firstbit == self.LSB:
            raise NotImplementedError("only 8 bits, MSB first")
        if baudrate > 0:
            self.baudrate = baudrate
        if polarity >= 0:
            self._polarity = polarity
        if phase >= 0:
            self._phase = phase

    def deinit(self) -> None:
        """Release the pins."""

    def write(self, buf: "Bytes") -> None:
        exchange = self._begin(len(buf))
        if exchange is None:
            return
        at = self._bulk.take(buf) if self._bulk is not None and len(buf) > _BULK else 0
        for index in range(at, len(buf)):
            exchange(buf[index])

    def read(self, nbytes: int, write: int = 0) -> bytes:
        into = bytearray(nbytes)
        self.readinto(into, write)
        return bytes(into)

    def readinto(self, buf: "Writable", write: int = 0) -> None:
        exchange = self._begin(len(buf))
        at = self._bulk.give(buf, write) if self._bulk is not None and len(buf) > _BULK else 0
        for index in range(at, len(buf)):
            buf[index] = 0xFF if exchange is None else exchange(write)

    def write_readinto(self, write_buf: "Bytes", read_buf: "Writable") -> None:
        if len(write_buf) != len(read_buf):
            raise ValueError("buffers must be the same length")
        exchange = self._begin(len(write_buf))
        for at in range(len(write_buf)):
            byte = write_buf[at]
            read_buf[at] = 0xFF if exchange is None else exchange(byte)

    def _begin(self, size: int) -> "Exchange | None":
        """What takes each byte; None for a bus with nothing on it. Time passes for `size` bytes."""
        clock.advance(_CALL_US + size * 8_000_000 // self.baudrate)
        self._bulk = None
        chips = wiring.spi_chips(self._pins)
        selected = [chip for chip in chips if chip.selected]
        if len(selected) > 1:
            raise Misuse("two chips are selected on one bus")
        if not selected:
            return _idle(chips) if chips else None
        chip = selected[0].chip
        if self.baudrate > chip.max_hz:
            raise Misuse("%d Hz is faster than the chip can (%d)" % (self.baudrate, chip.max_hz))
        if (self._polarity, self._phase) not in chip.modes:
            raise Misuse("the chip has no SPI mode of polarity %d and phase %d" % (self._polarity, self._phase))
        self._bulk = chip
        return chip.exchange


def _idle(chips: "list[Any]") -> "Exchange":
    def clocks(byte: int) -> int:
        for chip in chips:
            chip.chip.idle_clocks(byte)
        return 0xFF

    return clocks


class SPI(SoftSPI):
    """A bus of the hardware's, on the pins that it can have."""

    def __init__(
        self,
        id: int,
        baudrate: int = 1_000_000,
        *,
        polarity: int = 0,
        phase: int = 0,
        bits: int = 8,
        firstbit: int = 0,
        sck: object = None,
        mosi: object = None,
        miso: object = None,
    ) -> None:
        if wiring.port == "rp2":
            if id not in (0, 1):
                raise ValueError("SPI(%d) doesn't exist" % id)
            for name, pin, good in (("SCK", sck, 0), ("MOSI", mosi, 1), ("MISO", miso, 2)):
                if number_of(pin) not in _RP2_PINS[id][good]:
                    raise ValueError("bad %s pin" % name)
        elif id not in (1, 2):
            raise ValueError("SPI(%d) doesn't exist" % id)
        super().__init__(
            baudrate, polarity=polarity, phase=phase, bits=bits, firstbit=firstbit, sck=sck, mosi=mosi, miso=miso
        )
