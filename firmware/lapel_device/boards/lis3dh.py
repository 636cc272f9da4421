"""The LIS3DH accelerometer on I2C, as the `Accelerometer` of the board contract (ST datasheet DocID17530).

Samples wait in the chip's own FIFO (32 of them, stream mode, section 5.1.3) and are fetched eight at a time in one
transfer, so that the bus is used a few times a second and not once a sample. Rules that hold here:

- Nothing waits: what the chip needs time for (section 3.2.1, Table 11: seven samples after high resolution is switched
  on) is a burst that is fetched and dropped.
- Every register that matters is written and read back, whatever state a reset of the processor alone left it in.
- Reading allocates nothing; a transfer that fails raises OSError and leaves no half of a burst in `samples`.
"""

from array import array

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class I2C(Protocol):
        """What is used of MicroPython's `machine.I2C` and `machine.SoftI2C`."""

        def readfrom_mem_into(self, addr: int, memaddr: int, buf: "bytearray | memoryview", /) -> None: ...

        def writeto_mem(self, addr: int, memaddr: int, buf: bytes, /) -> None: ...


ADDRESS = 0x18
"""SA0 low; 0x19 with SA0 high (section 6.1.1)."""

WHO_AM_I = 0x0F  # section 8.6
CTRL_REG1 = 0x20  # section 8.8: ODR in bits 7-4, low power, axes in bits 2-0
CTRL_REG2 = 0x21  # section 8.9: high-pass filter
CTRL_REG3 = 0x22  # section 8.10: interrupts
CTRL_REG4 = 0x23  # section 8.11: block data update, full scale, high resolution, self-test
CTRL_REG5 = 0x24  # section 8.12: FIFO on
OUT_X_L = 0x28  # section 8.16
FIFO_CTRL_REG = 0x2E  # section 8.19
FIFO_SRC_REG = 0x2F  # section 8.20
AUTO_INCREMENT = 0x80  # section 6.1.1: the register address goes on by itself, and from 0x2D back to 0x28

IDENTITY = 0x33
AXES = 0x07
BLOCK_DATA_UPDATE = 0x80
HIGH_RESOLUTION = 0x08
FIFO_ON = 0x40
FIFO_STREAM = 0x80
FIFO_FILLED = 0x80  # more than the watermark
FIFO_FULL = 0x40  # all 32 are taken: from here on the oldest are lost
FIFO_COUNT = 0x1F

BURST = 8
"""Samples in one transfer. The FIFO has room for four bursts: at 50 Hz 640 ms may pass between two visits."""

FIFO_SAMPLES = 32
_SAMPLE_BYTES = 6
_EIO = 5
_ENODEV = 19
_RATES_HZ = (1, 10, 25, 50, 100, 200)  # ODR codes 1 to 6 (section 8.8, Table 31): whole milliseconds apart
_SCALES_G = (2, 4, 8, 16)  # FS codes 0 to 3 (section 8.11)
_MG_A_DIGIT = (1, 2, 4, 12)  # high resolution (section 2.1, Table 4: So)


class Lis3dh:
    """One chip on a bus that the board has set up (at most 400 kHz).

    `samples` holds x, y, z of the last burst in mg, oldest first; `behind` says how many newer ones wait in the chip;
    `overruns` counts the visits that came so late that samples may be missing before the burst.
    """

    def __init__(self, i2c: "I2C", address: int = ADDRESS, rate_hz: int = 50, scale_g: int = 8) -> None:
        """`rate_hz` is one of 1, 10, 25, 50, 100, 200; `scale_g` one of 2, 4, 8, 16. Raises ValueError."""
        if rate_hz not in _RATES_HZ or scale_g not in _SCALES_G:
            raise ValueError("the chip has no such rate or scale")
        scale = _SCALES_G.index(scale_g)
        self.interval_ms = 1000 // rate_hz
        self.samples = array("h", bytes(BURST * _SAMPLE_BYTES))
        self.behind = 0
        self.overruns = 0
        self._i2c = i2c
        self._address = address
        self._rate = (_RATES_HZ.index(rate_hz) + 1) << 4 | AXES
        self._mode = BLOCK_DATA_UPDATE | scale << 4 | HIGH_RESOLUTION
        self._mg = _MG_A_DIGIT[scale]
        self._settling = True
        self._raw = bytearray(BURST * _SAMPLE_BYTES)
        self._byte = bytearray(1)

    def start(self) -> None:
        """Power up and begin to collect. Raises OSError: not there (ENODEV: something else answers), or it forgets."""
        if self._read(WHO_AM_I) != IDENTITY:
            raise OSError(_ENODEV)
        # Off while it is set up: the FIFO is emptied by bypass mode (section 5.1.1) and begins with the new settings.
        self._write(CTRL_REG1, 0)
        self._write(FIFO_CTRL_REG, 0)
        self._write(CTRL_REG2, 0)
        self._write(CTRL_REG3, 0)
        self._write(CTRL_REG4, self._mode)
        self._write(CTRL_REG5, FIFO_ON)
        self._write(FIFO_CTRL_REG, FIFO_STREAM | BURST - 1)
        self._write(CTRL_REG1, self._rate)
        self._settling = True
        self.behind = 0

    def stop(self) -> None:
        """Power down (0.5 uA). Harmless when already stopped; raises OSError when the chip does not answer."""
        self._write(CTRL_REG1, 0)

    def read(self) -> int:
        """Fetch the oldest burst into `samples` and return how many samples it has; 0 while there are fewer. OSError.

        A visit asks the chip once and moves 48 bytes at most; call until it returns 0 to catch up.
        """
        state = self._read(FIFO_SRC_REG)
        if not state & FIFO_FILLED:
            return 0
        waiting = FIFO_SAMPLES if state & FIFO_FULL else state & FIFO_COUNT
        raw = self._raw
        self._i2c.readfrom_mem_into(self._address, OUT_X_L | AUTO_INCREMENT, raw)
        self.behind = waiting - BURST
        if self._settling:
            self._settling = False
            return 0
        if state & FIFO_FULL:
            self.overruns += 1
        samples = self.samples
        mg = self._mg
        for index in range(3 * BURST):
            # Two's complement, 12 bits at the left of 16 (section 3.2.1, Table 9).
            value = (raw[2 * index + 1] << 8 | raw[2 * index]) >> 4
            samples[index] = (value - 4096 if value & 0x800 else value) * mg
        return BURST

    def _read(self, register: int) -> int:
        self._i2c.readfrom_mem_into(self._address, register, self._byte)
        return self._byte[0]

    def _write(self, register: int, value: int) -> None:
        self._i2c.writeto_mem(self._address, register, bytes((value,)))
        if self._read(register) != value:
            raise OSError(_EIO)
