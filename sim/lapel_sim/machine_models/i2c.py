"""`machine.I2C` and `SoftI2C`: the bus of lapel_sim.chips.i2c at the board's pins."""

from lapel_sim.chips.i2c import I2CBus

from .clock import clock
from .pin import number_of
from .wiring import wiring

_CALL_US = 8


class SoftI2C:
    """A bus on any pins. `wiring.parts["i2c%d" % sda]` is what is on it; an empty bus acknowledges nothing."""

    def __init__(self, scl: object = None, sda: object = None, *, freq: int = 400_000, timeout: int = 50_000) -> None:
        self._freq = freq
        number_of(scl)
        found = wiring.parts.get("i2c%d" % number_of(sda))
        self._bus = found if isinstance(found, I2CBus) else I2CBus()

    def readfrom_mem_into(self, addr: int, memaddr: int, buf: "bytearray | memoryview", *, addrsize: int = 8) -> None:
        self._pass(len(buf) + 3)
        self._bus.readfrom_mem_into(addr, memaddr, buf)

    def writeto_mem(self, addr: int, memaddr: int, buf: "bytes | bytearray | memoryview", *, addrsize: int = 8) -> None:
        self._pass(len(buf) + 2)
        self._bus.writeto_mem(addr, memaddr, bytes(buf))

    def _pass(self, size: int) -> None:
        clock.advance(_CALL_US + size * 9_000_000 // self._freq)


# RP2040 datasheet section 1.4.3: GP0, 4, 8 ... are SDA of I2C0, GP2, 6, 10 ... of I2C1; SCL is the next pin.
class I2C(SoftI2C):
    """A bus of the hardware's."""

    def __init__(
        self, id: int = 0, *, scl: object = None, sda: object = None, freq: int = 400_000, timeout: int = 50_000
    ) -> None:
        if wiring.port == "rp2" and (number_of(sda) % 4 != 2 * id or number_of(scl) % 4 != 2 * id + 1):
            raise ValueError("bad SDA or SCL pin")
        super().__init__(scl, sda, freq=freq, timeout=timeout)
