"""The Arducam Mega camera on SPI, as the contract's `Camera` (Arducam Mega application note, September 2023).

The sensor (3 or 5 megapixels) makes the JPEG and puts it into a FIFO of 8 MB. Rules that hold here:

- A frame is read in bursts straight into the one frame buffer: byte by byte it is 30 times slower. A burst holds the
  processor for 33 ms at most.
- Nothing waits in place: the sensor takes half a second for its settings, and a frame its exposure; `capture` yields.
- A frame larger than the buffer is left in the FIFO and told as empty (contract.Camera).
- What does not answer within a second is OSError; the next `start` begins with a reset of the whole camera.
"""

import asyncio
from time import ticks_diff, ticks_ms  # type: ignore[attr-defined,unused-ignore]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from machine import SPI, Pin

_EIO = 5
_ENODEV = 19
_EINVAL = 22
_ETIMEDOUT = 110

# Registers (section 4 and, for 0x40 on, the maker's SDK, which the note refers to)
_TEST = 0x00
_POWER = 0x02
_FIFO = 0x04
_RESET = 0x07
_DEVICE = 0x0A
_FORMAT = 0x20
_RESOLUTION = 0x21
_QUALITY = 0x2A
_BURST = 0x3C
_SENSOR = 0x40
_STATE = 0x44
_LENGTH = 0x45

_AWAKE = 0x05
_ASLEEP = 0x07
_RESET_ALL = 0x40
_CLEAR_DONE = 0x01
_START = 0x02
_JPEG = 0x01
_VIDEO = 0x80
_IDLE_MASK = 0x03
_IDLE = 0x02
_DONE = 0x04
_SENSOR_ADDRESS = 0x78
_MARK = 0x55

_FIFO_BYTES = 8 << 20
_BURST_BYTES = 32768
_TIMEOUT_MS = 1000
_LOOK_S = 0.005

QUALITY_HIGH = 0
QUALITY_MEDIUM = 1
QUALITY_LOW = 2


def _resolution(width: int, height: int) -> int:
    """Register 0x21 for a size, 0 where there is none."""
    for code, wide, high in ((1, 320, 240), (2, 640, 480), (4, 1280, 720)):
        if (wide, high) == (width, height):
            return code
    return 0


def _name(sensor: int) -> str:
    return {0x81: "5MP-1", 0x82: "3MP-1", 0x83: "5MP-2", 0x84: "3MP-2"}.get(sensor, "")


class ArducamMega:
    """One camera. `sensor` names what it found, empty before that; `broken` counts frames that were no JPEG."""

    def __init__(self, spi: "SPI", cs: "Pin", max_frame_bytes: int, quality: int = QUALITY_LOW) -> None:
        """`spi`: mode 0, 8 MHz at most (section 2); `cs`: an output that is high. Takes the frame buffer at once."""
        self._view = memoryview(bytearray(max_frame_bytes))
        self._spi = spi
        self._cs = cs
        self._quality = quality
        self._two = bytearray(2)
        self._three = bytearray(3)
        self._answer = bytearray(3)
        self._size = 0
        self._width = 0
        self._height = 0
        self._set_up = False
        self.sensor = ""
        self.broken = 0

    def start(self, width: int, height: int) -> None:
        """Wake the camera for JPEG of this size. Raises OSError: ENODEV when nothing answers, EINVAL for the size."""
        self._size = _resolution(width, height)
        if not self._size:
            raise OSError(_EINVAL)
        self._width = width
        self._height = height
        self._set_up = False
        for mark in (_MARK, _MARK ^ 0xFF):
            self._write(_TEST, mark)
            if self._read(_TEST) != mark:
                raise OSError(_ENODEV)
        self._write(_POWER, _AWAKE)
        self._write(_RESET, _RESET_ALL)

    def stop(self) -> None:
        """Put the sensor to sleep. Harmless when it already sleeps, or is not there."""
        self._set_up = False
        self._write(_POWER, _ASLEEP)

    async def capture(self) -> "tuple[memoryview, int, int, int]":
        """The next frame; see contract.Camera. Raises OSError: ETIMEDOUT, ENODEV for a strange sensor, EIO no JPEG."""
        if not self._set_up:
            await self._settings()
        self._write(_FIFO, _CLEAR_DONE)
        self._write(_FIFO, _START)
        exposed: Any = ticks_ms()
        await self._until(_DONE, _DONE)
        size = self._read(_LENGTH) | self._read(_LENGTH + 1) << 8 | self._read(_LENGTH + 2) << 16
        if size >= _FIFO_BYTES:
            raise OSError(_ENODEV)  # nobody drives the wire
        if size > len(self._view):
            return self._view[:0], exposed, self._width, self._height
        frame = self._view[:size]
        at = 0
        while at < size:
            self._burst(frame[at : at + _BURST_BYTES], at == 0)
            at += _BURST_BYTES
            await asyncio.sleep(0)
        if size < 4 or frame[0] != 0xFF or frame[1] != 0xD8:
            self.broken += 1
            raise OSError(_EIO)
        return frame, exposed, self._width, self._height

    async def _settings(self) -> None:
        await self._until(_IDLE_MASK, _IDLE)
        self.sensor = _name(self._read(_SENSOR))
        if not self.sensor:
            raise OSError(_ENODEV)
        for register, value in (
            (_DEVICE, _SENSOR_ADDRESS),
            (_FORMAT, _JPEG),
            (_RESOLUTION, _VIDEO | self._size),
            (_QUALITY, self._quality),
        ):
            self._write(register, value)
            await self._until(_IDLE_MASK, _IDLE)
        self._set_up = True

    async def _until(self, mask: int, wanted: int) -> None:
        """Wait for a state of the sensor. Raises OSError(ETIMEDOUT)."""
        since = ticks_ms()
        while self._read(_STATE) & mask != wanted:
            if ticks_diff(ticks_ms(), since) > _TIMEOUT_MS:
                raise OSError(_ETIMEDOUT)
            await asyncio.sleep(_LOOK_S)

    def _burst(self, piece: memoryview, first: bool) -> None:
        """Section 3.3: the first burst of a frame has a byte of nothing before it; section 3.4: later ones have not."""
        self._cs.value(0)
        self._two[0] = _BURST
        self._two[1] = 0
        self._spi.write(self._two if first else memoryview(self._two)[:1])
        self._spi.readinto(piece, 0)
        self._cs.value(1)

    def _read(self, register: int) -> int:
        """Section 3.1: the address, a byte of nothing, the value."""
        self._three[0] = register
        self._cs.value(0)
        self._spi.write_readinto(self._three, self._answer)
        self._cs.value(1)
        return self._answer[2]

    def _write(self, register: int, value: int) -> None:
        """Section 3.2."""
        self._two[0] = register | 0x80
        self._two[1] = value
        self._cs.value(0)
        self._spi.write(self._two)
        self._cs.value(1)
