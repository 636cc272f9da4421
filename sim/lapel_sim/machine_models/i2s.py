"""`machine.I2S` receiving: samples of a microphone arrive in a ring of `ibuf` bytes whether anybody reads or not.

What arrives while the ring is full is lost (`lost_frames`). As in MicroPython, `readinto` waits until its buffer is
full, unless the object was polled before: then it takes what is there.
"""

import io

from .clock import clock
from .faults import Misuse
from .pin import number_of
from .wiring import wiring

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_POLL = 3
_POLL_IN = 1


class MicrophonePart:
    """A digital microphone (INMP441 and its kind): 24 bits at the left of each 32-bit slot. `sample(n)` is the n-th."""

    def __init__(self, sample: "Callable[[int], int]") -> None:
        self.sample = sample
        self.present = True
        self.running = False
        self.lost_frames = 0


class I2S(io.IOBase):  # type: ignore[misc,unused-ignore]
    """A receiver."""

    RX = 0
    TX = 1
    MONO = 0
    STEREO = 1

    def __init__(
        self,
        id: int,
        *,
        sck: object,
        ws: object,
        sd: object,
        mode: int,
        bits: int,
        format: int,
        rate: int,
        ibuf: int,
    ) -> None:
        pins = (number_of(sck), number_of(ws), number_of(sd))
        if id not in (0, 1):
            raise ValueError("invalid id")
        if wiring.port == "rp2" and pins[1] != pins[0] + 1:
            raise ValueError("invalid ws (must be sck+1)")
        if mode != self.RX or bits not in (16, 32) or ibuf <= 0:
            raise ValueError("invalid mode, bits or ibuf")
        if bits != 32:
            raise Misuse("the microphone wants 64 clocks a frame: 32-bit slots")
        part = wiring.part("microphone")
        if not isinstance(part, MicrophonePart):
            raise Misuse("no microphone")
        self._part = part
        part.running = True
        self._rate = rate
        # The RP2 port keeps both channels in its ring.
        self._frame_bytes = 8 if wiring.port == "rp2" or format == self.STEREO else 4
        self._holds = ibuf // self._frame_bytes
        self._from_us = clock.now_us
        self._read = 0  # frames read or lost
        self._polled = False
        self._deinit = False

    def _arrived(self) -> int:
        """How many frames lie in the ring; what no longer fitted is counted as lost."""
        if self._deinit:
            raise Misuse("the I2S was let go of")
        waiting = (clock.now_us - self._from_us) * self._rate // 1_000_000 - self._read
        if waiting > self._holds:
            lost = waiting - self._holds
            self._part.lost_frames += lost
            self._read += lost
            waiting = self._holds
        return waiting

    def ioctl(self, request: int, argument: int) -> int:
        if request == _POLL:
            self._polled = True
            return argument & _POLL_IN if self._arrived() else 0
        return -22  # EINVAL

    def readinto(self, buf: "bytearray | memoryview") -> int:
        if len(buf) % 4:
            raise OSError(22)
        wanted = len(buf) // 4
        waiting = self._arrived()
        if not self._polled and waiting < wanted:
            clock.advance((wanted - waiting) * 1_000_000 // self._rate + 1)
            waiting = self._arrived()
        count = min(wanted, waiting)
        at = 0
        for number in range(self._read, self._read + count):
            word = (self._part.sample(number) & 0xFFFFFF) << 8 if self._part.present else 0
            buf[at] = word & 0xFF
            buf[at + 1] = word >> 8 & 0xFF
            buf[at + 2] = word >> 16 & 0xFF
            buf[at + 3] = word >> 24
            at += 4
        self._read += count
        return 4 * count

    def deinit(self) -> None:
        self._part.running = False
        self._deinit = True
