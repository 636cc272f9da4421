"""`machine.UART`: bytes at the speed of the line, through the chip's FIFO into a buffer that may overflow.

While interrupts are off, only the hardware's FIFO takes bytes: 32 on an RP2040, 128 on an ESP32.
"""

from .clock import clock
from .pin import number_of
from .wiring import wiring

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class Peer(Protocol):
        """What is at the other end of the two wires."""

        baudrate: int

        def heard(self, data: bytes) -> None: ...


# RP2040 datasheet section 1.4.3: TX and RX pins of each UART.
_RP2_PINS = (((0, 12, 16, 28), (1, 13, 17, 29)), ((4, 8, 20, 24), (5, 9, 21, 25)))
_BITS = 10


class SerialPeer:
    """A talking part: `say` puts bytes on the line from now on; `heard` is what the board sent it."""

    def __init__(self, baudrate: int = 9600) -> None:
        self.baudrate = baudrate
        self.lost = 0
        self.said: list[tuple[int, int]] = []  # (when its last bit is through, byte)
        self._free_us = 0
        self.received = b""
        self.powered = True

    def say(self, data: bytes, delay_us: int = 0) -> None:
        """Begin to send after a time, when what was said before is through."""
        if not self.powered:
            return
        at_us = max(clock.now_us + delay_us, self._free_us)
        for byte in data:
            at_us += _BITS * 1_000_000 // self.baudrate
            self.said.append((at_us, byte))
        self._free_us = at_us

    def heard(self, data: bytes) -> None:
        """The board sent this at this part's own speed."""
        self.received += data


class UART:
    """One port."""

    def __init__(
        self,
        id: int,
        baudrate: int = 115200,
        *,
        tx: object = None,
        rx: object = None,
        rxbuf: int = 256,
        txbuf: int = 256,
        timeout: int = 0,
        timeout_char: int = 0,
    ) -> None:
        pins = (number_of(tx), number_of(rx))
        if wiring.port == "rp2":
            if id not in (0, 1):
                raise ValueError("UART(%d) doesn't exist" % id)
            for pin, good in ((pins[0], _RP2_PINS[id][0]), (pins[1], _RP2_PINS[id][1])):
                if pin not in good:
                    raise ValueError("bad TX/RX pin")
        elif id not in (0, 1, 2):
            raise ValueError("UART(%d) does not exist" % id)
        self._fifo = 32 if wiring.port == "rp2" else 128
        self._peer = wiring.parts.get("uart%d" % pins[1])
        self.baudrate = baudrate
        self._rxbuf = rxbuf
        self._ring = bytearray()
        self._gaps_seen = len(clock.gaps)

    def _collect(self) -> None:
        """Move what came through the line until now into the buffer."""
        peer = self._peer
        if not isinstance(peer, SerialPeer):
            return
        taken = 0
        in_gap: dict[int, int] = {}
        for at_us, byte in peer.said:
            if at_us > clock.now_us:
                break
            taken += 1
            for number in range(self._gaps_seen, len(clock.gaps)):
                begun_us, ended_us = clock.gaps[number]
                if begun_us <= at_us < ended_us:
                    in_gap[number] = in_gap.get(number, 0) + 1
                    if in_gap[number] > self._fifo:
                        peer.lost += 1
                        byte = -1
            if byte < 0:
                continue
            if len(self._ring) >= self._rxbuf:
                peer.lost += 1
                continue
            self._ring.append(byte if peer.baudrate == self.baudrate else byte * 37 & 0xFF | 0x80)
        if taken:
            peer.said = peer.said[taken:]
        self._gaps_seen = len(clock.gaps)

    def any(self) -> int:
        self._collect()
        return len(self._ring)

    def readinto(self, buf: "bytearray | memoryview", nbytes: int = -1) -> "int | None":
        self._collect()
        count = min(len(buf) if nbytes < 0 else nbytes, len(self._ring))
        if not count:
            return None
        buf[:count] = self._ring[:count]
        self._ring = self._ring[count:]
        return count

    def write(self, buf: "bytes | bytearray | memoryview") -> int:
        peer = self._peer
        if isinstance(peer, SerialPeer) and peer.powered and peer.baudrate == self.baudrate:
            peer.heard(bytes(buf))
        return len(buf)

    def deinit(self) -> None:
        self._ring = bytearray()
