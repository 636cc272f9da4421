"""MicroPython's `time` in simulated time, with the tick period and the epoch of the board."""

import utime  # type: ignore[import-not-found,unused-ignore]

from lapel_sim.machine_models.clock import clock

_PERIOD = 1 << 30
_TO_2000_S = 946_684_800


def ticks_ms() -> int:
    return clock.ticks_us // 1000 & (_PERIOD - 1)


def ticks_us() -> int:
    return clock.ticks_us & (_PERIOD - 1)


ticks_cpu = ticks_us


def ticks_add(ticks: int, delta: int) -> int:
    return (ticks + delta) & (_PERIOD - 1)


def ticks_diff(end: int, start: int) -> int:
    return ((end - start + _PERIOD // 2) & (_PERIOD - 1)) - _PERIOD // 2


def sleep_us(us: int) -> None:
    clock.sleep(us)


def sleep_ms(ms: int) -> None:
    clock.sleep(ms * 1000)


def sleep(seconds: float) -> None:
    clock.sleep(int(seconds * 1_000_000))


def _base_s() -> int:
    return _TO_2000_S if clock.epoch_year == 2000 else 0


def time() -> int:
    return (clock.wall_us + clock.now_us) // 1_000_000 - _base_s()


def time_ns() -> int:
    return (clock.wall_us + clock.now_us - _base_s() * 1_000_000) * 1000


def gmtime(seconds: "int | None" = None) -> "tuple[int, ...]":
    parts: tuple[int, ...] = utime.gmtime((time() if seconds is None else seconds) + _base_s())
    return parts[:8]


localtime = gmtime


def mktime(parts: "tuple[int, ...]") -> int:
    return int(utime.mktime(parts)) - _base_s()
