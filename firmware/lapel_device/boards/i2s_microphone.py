"""A digital microphone on I2S (INMP441 and its kind: 24 bits in slots of 32), as the contract's `Microphone`.

Rules that hold here:

- `readinto` never waits. MicroPython's I2S does so only for an object that was asked by `select` before (its asyncio
  mode), so it is asked each time.
- Samples gather in the I2S's own buffer while the processor is elsewhere: a flash erase (50 ms), a frame over the bus,
  a segment being sealed. When it was away for longer than the buffer lasts, `overruns` counts it.
- Slots of 32 bits become samples of 16 in one pass in viper, with a gain of 2^`gain_bits` and saturation.
"""

import select
from time import ticks_diff, ticks_ms  # type: ignore[attr-defined,unused-ignore]

import micropython
from machine import I2S

TYPE_CHECKING = False
if TYPE_CHECKING:
    from machine import Pin
    from micropython import ptr16  # type: ignore[attr-defined,unused-ignore]

    Writable = bytearray | memoryview

_SLOT_BYTES = 4
_RAW_BYTES = 640  # 160 slots, 10 ms at 16 kHz


@micropython.viper
def _convert(raw: ptr16, out: ptr16, at: int, count: int, gain: int) -> int:
    """Put `count` slots as samples at `out[at]`; returns the largest magnitude."""
    peak = 0
    for index in range(count):
        low = raw[2 * index]
        value = raw[2 * index + 1]
        if value & 0x8000:
            value -= 0x10000
        value = (value << gain) | (low >> (16 - gain))
        if value > 32767:
            value = 32767
        if value < -32768:
            value = -32768
        magnitude = value
        if magnitude < 0:
            magnitude = 0 - magnitude
        if magnitude > peak:
            peak = magnitude
        out[at + index] = value & 0xFFFF
    return peak


class I2sMicrophone:
    """One microphone, on the left channel. `overruns` counts gaps, `peak` is the loudest sample of the last reading."""

    def __init__(
        self, id: int, sck: "Pin", ws: "Pin", sd: "Pin", buffer_bytes: int, frame_bytes: int, gain_bits: int = 2
    ) -> None:
        """`buffer_bytes`: of the I2S while it runs; `frame_bytes`: what a sample takes there (8 on RP2, 4 on ESP32)."""
        self._id = id
        self._pins = (sck, ws, sd)
        self._buffer_bytes = buffer_bytes
        self._frame_bytes = frame_bytes
        self._gain_bits = gain_bits
        self._raw = memoryview(bytearray(_RAW_BYTES))
        self._poll = select.poll()
        self._i2s: I2S | None = None
        self._holds_ms = 0
        self._looked = ticks_ms()
        self.overruns = 0
        self.peak = 0

    def start(self, rate_hz: int) -> None:
        """Start sampling at this rate. Raises OSError when the I2S cannot be set up."""
        self.stop()
        sck, ws, sd = self._pins
        try:
            self._i2s = I2S(
                self._id,
                sck=sck,
                ws=ws,
                sd=sd,
                mode=I2S.RX,
                bits=32,
                format=I2S.MONO,
                rate=rate_hz,
                ibuf=self._buffer_bytes,
            )
        except (ValueError, MemoryError) as error:
            raise OSError(str(error))
        self._poll.register(self._i2s, select.POLLIN)  # type: ignore[arg-type,unused-ignore]
        self._holds_ms = self._buffer_bytes * 1000 // (self._frame_bytes * rate_hz)
        self._looked = ticks_ms()

    def stop(self) -> None:
        """Stop sampling and drop what was not read. Harmless when already stopped."""
        if self._i2s is not None:
            self._poll.unregister(self._i2s)  # type: ignore[arg-type,unused-ignore]
            self._i2s.deinit()
            self._i2s = None

    def readinto(self, buffer: "Writable") -> int:
        """Copy samples that are there now, as 16 bits; returns how many bytes. Never waits."""
        i2s = self._i2s
        if i2s is None:
            return 0
        now = ticks_ms()
        if ticks_diff(now, self._looked) > self._holds_ms:
            self.overruns += 1
        self._looked = now
        wanted = len(buffer) // 2
        done = 0
        self.peak = 0
        while done < wanted:
            self._poll.ipoll(0)  # type: ignore[attr-defined,unused-ignore]
            raw = self._raw
            if wanted - done < _RAW_BYTES // _SLOT_BYTES:
                raw = raw[: (wanted - done) * _SLOT_BYTES]
            count = i2s.readinto(raw) // _SLOT_BYTES
            if not count:
                break
            self.peak = max(self.peak, _convert(raw, buffer, done, count, self._gain_bits))
            done += count
        return done * 2
