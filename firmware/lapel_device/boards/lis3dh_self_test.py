"""The LIS3DH's self-test, for the bench: a force of known size is put on the moving mass, and the readings must change.

Not imported by the running firmware: it needs a device that lies still, and it waits. A technician calls it from the
console (`self_test(board.i2c, time.sleep_ms)`), and afterwards the chip is off.
"""

from .lis3dh import (
    ADDRESS,
    AUTO_INCREMENT,
    AXES,
    BLOCK_DATA_UPDATE,
    CTRL_REG1,
    CTRL_REG2,
    CTRL_REG3,
    CTRL_REG4,
    CTRL_REG5,
    FIFO_CTRL_REG,
    IDENTITY,
    OUT_X_L,
    WHO_AM_I,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .lis3dh import I2C

_ENODEV = 19
_RATE_50_HZ = 0x40
_PERIOD_MS = 20
_SETTLE_MS = 100
"""Longer than the change of mode takes (Table 11), as application note AN3308 waits."""
_SELF_TEST_0 = 0x02  # CTRL_REG4 ST1-ST0 = 01 (section 8.11, Table 39)
_MEASUREMENTS = 8
_LEAST = 17
_MOST = 360
"""Change of the output in digits of the 10-bit mode at +-2 g (section 2.1, Table 4: Vst)."""


def self_test(i2c: "I2C", wait_ms: "Callable[[int], object]", address: int = ADDRESS) -> "tuple[int, int, int]":
    """The change of x, y and z in 10-bit digits while the force is on; see `passed`. Raises OSError."""
    byte = bytearray(1)
    i2c.readfrom_mem_into(address, WHO_AM_I, byte)
    if byte[0] != IDENTITY:
        raise OSError(_ENODEV)
    for register in (CTRL_REG1, FIFO_CTRL_REG, CTRL_REG2, CTRL_REG3, CTRL_REG5):
        i2c.writeto_mem(address, register, b"\0")
    try:
        i2c.writeto_mem(address, CTRL_REG4, bytes((BLOCK_DATA_UPDATE,)))
        i2c.writeto_mem(address, CTRL_REG1, bytes((_RATE_50_HZ | AXES,)))
        before = _mean(i2c, wait_ms, address)
        i2c.writeto_mem(address, CTRL_REG4, bytes((BLOCK_DATA_UPDATE | _SELF_TEST_0,)))
        during = _mean(i2c, wait_ms, address)
    finally:
        i2c.writeto_mem(address, CTRL_REG1, b"\0")
        i2c.writeto_mem(address, CTRL_REG4, b"\0")
    return during[0] - before[0], during[1] - before[1], during[2] - before[2]


def passed(change: "tuple[int, int, int]") -> bool:
    """Whether every axis changed as much as the maker says, in either direction."""
    return all(_LEAST <= abs(digits) <= _MOST for digits in change)


def _mean(i2c: "I2C", wait_ms: "Callable[[int], object]", address: int) -> "list[int]":
    """The mean of some measurements, x, y and z in 10-bit digits."""
    raw = bytearray(6)
    sums = [0, 0, 0]
    wait_ms(_SETTLE_MS)
    for _ in range(_MEASUREMENTS):
        wait_ms(_PERIOD_MS)
        i2c.readfrom_mem_into(address, OUT_X_L | AUTO_INCREMENT, raw)
        for axis in range(3):
            value = (raw[2 * axis + 1] << 8 | raw[2 * axis]) >> 6
            sums[axis] += value - 1024 if value & 0x200 else value
    return [total // _MEASUREMENTS for total in sums]
