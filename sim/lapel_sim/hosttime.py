"""The host clock that world and devices share, and the ticks that a device makes of it."""

import time

TICKS_PERIOD = 1 << 30


def host_ms() -> int:
    """Milliseconds of CLOCK_MONOTONIC, rounded down: exactly what MicroPython's unix port returns from
    time.ticks_ms().
    """
    return time.monotonic_ns() // 1_000_000


class DeviceTicks:
    """A device's tick counter: starts at `first_tick` when the power comes on and wraps at 2^30."""

    def __init__(self, first_tick: int) -> None:
        self.base_ms = host_ms() - first_tick

    def now(self) -> int:
        return self.at(host_ms())

    def at(self, at_host_ms: int) -> int:
        """The tick at a host time."""
        return (at_host_ms - self.base_ms) % TICKS_PERIOD

    def host_ms_of(self, unwrapped: int) -> int:
        """The host time at which the counter, without its wrap, is `unwrapped`."""
        return self.base_ms + unwrapped
