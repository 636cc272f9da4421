"""An I2C bus: the calls of MicroPython's `machine.I2C` that drivers use, led to the models of the chips on it.

Addresses at which nothing is attached do not acknowledge; a fault that is set hits every transfer until it is taken
away, or the next few of them.
"""

import errno

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class Chip(Protocol):
        """A slave with registers."""

        def read(self, register: int, size: int) -> bytes:
            """The bytes that the chip gives when it is read from this register address on."""
            ...

        def write(self, register: int, data: bytes) -> None:
            """The bytes that the chip is given from this register address on."""
            ...


class I2CBus:
    """A bus with chips by their 7-bit address. `transfers` and `bytes_moved` count what drivers ask of it."""

    def __init__(self) -> None:
        self._chips: dict[int, Chip] = {}
        self._fault = 0
        self._faults_left = 0
        self._good_left = 0
        self.transfers = 0
        self.bytes_moved = 0

    def attach(self, address: int, chip: "Chip") -> None:
        """Solder a chip to the bus. Raises ValueError for an address that is taken or reserved."""
        if not 0x08 <= address <= 0x77 or address in self._chips:
            raise ValueError(f"0x{address:02x} is reserved or taken")
        self._chips[address] = chip

    def fail(self, fault: int = errno.ETIMEDOUT, times: int = -1, after: int = 0) -> None:
        """Let `times` transfers fail with this errno (-1 = until `heal`), once `after` more have worked."""
        self._fault = fault
        self._good_left = after
        self._faults_left = times

    def heal(self) -> None:
        """The wire is whole again."""
        self._faults_left = 0

    def readfrom_mem_into(self, addr: int, memaddr: int, buf: bytearray | memoryview) -> None:
        """Fill `buf` from the chip's registers; OSError(EIO) when nobody acknowledges, as on the RP2 port."""
        buf[:] = self._chip(addr, len(buf)).read(memaddr, len(buf))

    def writeto_mem(self, addr: int, memaddr: int, buf: bytes) -> None:
        """Write `buf` to the chip's registers; OSError(EIO) when nobody acknowledges."""
        self._chip(addr, len(buf)).write(memaddr, bytes(buf))

    def _chip(self, address: int, size: int) -> "Chip":
        self.transfers += 1
        if self._faults_left and not self._good_left:
            self._faults_left -= self._faults_left > 0
            raise OSError(self._fault, "the bus does not work")
        self._good_left = max(0, self._good_left - 1)
        if address not in self._chips:
            raise OSError(errno.EIO, f"nobody acknowledges 0x{address:02x}")
        self.bytes_moved += size
        return self._chips[address]
