"""A GNSS receiver on a UART, as the contract's `Gnss`: bytes of NMEA, at a speed that outlasts a flash erase.

An RP2040's UART has room for 32 bytes while a flash erase holds its interrupts off for 50 ms: 33 ms of what a receiver
says at 9600 baud. So it is asked to speak at 4800, in the two dialects that most receivers know (u-blox PUBX,41 and
MediaTek PMTK251), and listened to there. One that goes on at 9600 is heard as noise; then it is listened to as it is.
"""

from time import ticks_diff, ticks_ms  # type: ignore[attr-defined,unused-ignore]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from machine import UART, Pin

    Writable = bytearray | memoryview

_USUAL = 9600
_SLOW = 4800
_ASK = b"$PUBX,41,1,0007,0003,4800,0*13\r\n$PMTK251,4800*14\r\n"
_ASK_AFTER_MS = 1200
"""A receiver that was just switched on does not listen yet."""
_SENT_MS = 100
_PATIENCE_MS = 3500
_ENODEV = 19
_SILENCE_MS = 12_000


class UartGnss:
    """`speed` is the baud rate at which the receiver was last heard, 0 before that."""

    def __init__(self, make_uart: "Callable[[int], UART]", power: "Pin | None" = None) -> None:
        """`make_uart`: gives the UART at a baud rate, its buffer 512 bytes or more. `power`: high = on."""
        self._make_uart = make_uart
        self._power = power
        self._uart: UART | None = None
        self._baudrate = 0
        self._since = ticks_ms()
        self._heard = self._since
        self._asked = False
        self._sending = False
        self.speed = 0

    def start(self) -> None:
        """Power up. Whether the receiver answers is seen later, by `readinto`."""
        if self._power is not None:
            self._power.value(1)
        self._listen(self.speed or _USUAL)
        self._asked = self.speed != 0
        self._sending = False
        self._heard = ticks_ms()

    def stop(self) -> None:
        """Power down and drop what was not read. Harmless when already stopped."""
        if self._uart is not None:
            self._uart.deinit()
            self._uart = None
        if self._power is not None:
            self._power.value(0)
            self.speed = 0

    def readinto(self, buffer: "Writable") -> int:
        """Bytes that are there now. Never waits. Raises OSError(ENODEV) when nothing was understood for a while."""
        uart = self._uart
        if uart is None:
            return 0
        now = ticks_ms()
        size = uart.readinto(buffer) if uart.any() else 0
        size = size or 0
        if _speaks(buffer, size):
            self.speed = self._baudrate
            self._heard = now
        waited_ms = ticks_diff(now, self._since)
        if self._sending:
            if waited_ms > _ASK_AFTER_MS + _SENT_MS:
                self._sending = False
                self._listen(_SLOW)
        elif not self._asked:
            if waited_ms > _ASK_AFTER_MS:
                self._asked = self._sending = True
                uart.write(_ASK)
        elif ticks_diff(now, self._heard) > _SILENCE_MS:
            self._heard = now
            raise OSError(_ENODEV)
        elif waited_ms > _PATIENCE_MS and ticks_diff(now, self._heard) > _PATIENCE_MS:
            self._listen(_USUAL if self._baudrate == _SLOW else _SLOW)
        return size

    def _listen(self, baudrate: int) -> None:
        if self._uart is not None:
            self._uart.deinit()
        self._uart = self._make_uart(baudrate)
        self._baudrate = baudrate
        self._since = ticks_ms()


def _speaks(buffer: "Writable", size: int) -> bool:
    """Whether these bytes are text with a sentence's end or beginning in it."""
    marked = False
    for at in range(size):
        byte = buffer[at]
        if byte > 0x7E:
            return False
        if byte in (0x24, 0x2A):  # $ and *
            marked = True
    return marked
