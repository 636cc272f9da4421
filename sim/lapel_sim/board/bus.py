"""The board's I2C bus. A module of its own: it is loaded only when a driver is."""

from . import ops

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .wire import Wire

    Writable = bytearray | memoryview


class I2C:
    """`machine.I2C` as far as drivers use it; the chips are the world's."""

    def __init__(self, wire: "Wire") -> None:
        self._wire = wire

    def readfrom_mem_into(self, addr: int, memaddr: int, buf: "Writable") -> None:
        self._wire.call(ops.I2C_READ, addr, memaddr, into=buf)

    def writeto_mem(self, addr: int, memaddr: int, buf: bytes) -> None:
        self._wire.call(ops.I2C_WRITE, addr, memaddr, data=buf)
