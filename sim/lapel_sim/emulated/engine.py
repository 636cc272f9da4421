"""Runs one emulated RP2040 and keeps its clock from getting ahead of the wall's.

Rules that hold here:

- Emulated time never passes faster than real time, however idle the chip is: its watchdog and its timeouts mean what
  they say to whoever talks to it. It passes slower whenever the chip works; what was lost then is not made up for.
- Everything that touches the chip runs on one asyncio loop, between two turns.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

from rp2040py.execute_batch import execute_batch
from rp2040py.rp2040 import RP2040

_TURN_NS = 2_000_000
"""How much emulated time passes between two looks at the outside world."""


class Engine:
    """What rp2040py's devices know as their `simulator`: a chip, its clock, and the loop on which both run.

    `stopped` ends a turn; rp2040py reads it before every instruction.
    """

    def __init__(self, rp2040: RP2040, between: Callable[[], None]) -> None:
        """`between` is called after every turn."""
        self.rp2040 = rp2040
        self.clock = rp2040.clock
        self.stopped = True
        self._between = between
        self._ended = False
        self._loop = asyncio.get_running_loop()
        self._work: set[asyncio.Task[Any]] = set()
        rp2040.simulator = self  # type: ignore[assignment]  # rp2040py's own would run it without a pace

    def schedule_threadsafe(self, work: Callable[[], None] | Coroutine[Any, Any, Any]) -> None:
        """What a device does beside the chip (a connection of its radio), on the chip's loop."""
        if callable(work):
            self._loop.call_soon_threadsafe(work)
        else:
            self._loop.call_soon_threadsafe(self._begin, work)

    def _begin(self, work: Coroutine[Any, Any, Any]) -> None:
        task = self._loop.create_task(work)
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    def end(self) -> None:
        """Let `run` return after this turn."""
        self._ended = self.stopped = True

    async def run(self) -> None:
        """Run the chip until `end`."""
        turn = self.clock.create_alarm(self._end_turn)
        origin = time.monotonic() - self.clock.nanos / 1e9
        while not self._ended:
            self.stopped = False
            turn.schedule(_TURN_NS)
            execute_batch(self, 1)  # type: ignore[arg-type]
            self._between()
            ahead = self.clock.nanos / 1e9 - (time.monotonic() - origin)
            if ahead < 0:
                origin -= ahead
            await asyncio.sleep(max(ahead, 0))

    def _end_turn(self) -> None:
        self.stopped = True
