"""Simulated time: it passes by what the board does, and whatever is due on the way happens in its moment.

While interrupts are off (a flash erase), what is due waits until they are on again, as on a chip whose program is
executed from that flash.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_TICKS_PERIOD = 1 << 30
_FIRST_TICKS_US = (_TICKS_PERIOD - 15_000) * 1000
"""Ticks wrap 15 s after the start: every longer run meets it."""


class SimClock:
    """`now_us` since power-on; `ticks_us` is what a board counts. `wall_us` is added for the real-time clock. `gaps`:
    from when to when interrupts were off.
    """

    def __init__(self) -> None:
        self.reset(1970, 0)

    def reset(self, epoch_year: int, unix_s: int) -> None:
        """Power-on: the port's epoch (1970 or 2000), and what its real-time clock starts with."""
        self.now_us = 0
        self.epoch_year = epoch_year
        self.wall_us = unix_s * 1_000_000
        self.asleep_us = 0
        self._due: list[tuple[int, Callable[[], object]]] = []
        self._held = 0
        self._in_callback = False
        self.gaps: list[tuple[int, int]] = []

    @property
    def ticks_us(self) -> int:
        """Microseconds of the tick counter, not wrapped."""
        return _FIRST_TICKS_US + self.now_us

    def at(self, delay_us: int, action: "Callable[[], object]") -> None:
        """Let something happen by itself after a time."""
        at_us = self.now_us + max(0, delay_us)
        place = len(self._due)
        while place and self._due[place - 1][0] > at_us:
            place -= 1
        self._due.insert(place, (at_us, action))

    def advance(self, us: int) -> None:
        """Let time pass, with everything that is due in it."""
        end_us = self.now_us + max(0, us)
        if not self._in_callback and not self._held:
            while self._due and self._due[0][0] <= end_us:
                at_us, action = self._due.pop(0)
                self.now_us = max(self.now_us, at_us)
                self._in_callback = True
                try:
                    action()
                finally:
                    self._in_callback = False
        self.now_us = max(self.now_us, end_us)

    def sleep(self, us: int) -> None:
        """Time that the program asked to wait; also counted in `asleep_us`."""
        self.asleep_us += max(0, us)
        self.advance(us)

    def without_interrupts(self, us: int) -> None:
        """Time in which nothing but hardware goes on; what was due happens at its end."""
        begun_us = self.now_us
        self._held += 1
        self.advance(us)
        self._held -= 1
        self.gaps.append((begun_us, self.now_us))
        self.advance(0)


clock = SimClock()
"""The board's. One process is one board."""
