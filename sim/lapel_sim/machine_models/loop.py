"""asyncio in simulated time: where its loop would wait for input, the clock moves on instead.

`install` puts this build's IOQueue on such a waiter (its internals are those of the pinned program). Between two waits
the processor is held; the longest such step is kept, for tests that want to know.
"""

import asyncio

from .clock import clock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


_AHEAD_MS = 1 << 40
"""asyncio's own C code gives a new task the host's time: it is to lie in the past, so that the task runs at once."""


class _Waiter:
    """What asyncio uses of `select.poll`, with the real one behind it for sockets."""

    def __init__(self, real: "Any") -> None:
        self._real = real
        self.register = real.register
        self.unregister = real.unregister
        self.modify = real.modify
        self.forget()

    def forget(self) -> None:
        self.longest_us = 0
        self._since_us = clock.now_us

    def ipoll(self, timeout_ms: int = -1) -> "Any":
        self.longest_us = max(self.longest_us, clock.now_us - self._since_us)
        if timeout_ms < 0:
            raise AssertionError("everything waits for input that never comes")
        clock.advance(timeout_ms * 1000)
        self._since_us = clock.now_us
        return self._real.ipoll(0)


def _ticks() -> int:
    return _AHEAD_MS + clock.now_us // 1000


def install() -> None:
    """Make a new loop that waits in simulated time."""
    core = asyncio.core  # type: ignore[attr-defined]
    core.ticks = _ticks
    core.ticks_add = lambda ticks, delta: ticks + delta
    core.ticks_diff = lambda end, start: end - start
    asyncio.new_event_loop()
    core._io_queue.poller = _Waiter(core._io_queue.poller)


def watch_steps() -> None:
    """Begin to measure anew."""
    asyncio.core._io_queue.poller.forget()  # type: ignore[attr-defined]


def longest_us() -> int:
    """The longest time without a wait since then."""
    return int(asyncio.core._io_queue.poller.longest_us)  # type: ignore[attr-defined]
