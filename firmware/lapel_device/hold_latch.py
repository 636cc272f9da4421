"""A hold of ALARM seen from its edges alone, for a loop that is busy with a TLS handshake while the wearer holds.

Rules that hold here:

- `edge` may run in a hard interrupt: it allocates nothing, and only it writes what both sides read, so that it may come
  between any two steps of `completed`.
- A level counts once it has held for DEBOUNCE_MS, as in `gestures`: bounce neither breaks a hold nor makes one.
- Times are a board's ticks, which wrap.
"""

from lapel_protocol.limits import TICKS_PERIOD

from .gestures import ALARM_HOLD_MS, DEBOUNCE_MS


class HoldLatch:
    """One button. Tell it every edge, ask it as often as the levels are read."""

    def __init__(self) -> None:
        self._holds = 0
        self._down = False
        self._since = 0
        self._settled = False
        self._pushed = 0
        self._told = 0

    def edge(self, down: bool, ticks: int) -> None:
        """The contact changed; a repeat of the present level stands for two changes too quick to be seen apart."""
        if down == self._down:
            return
        if self._settled != self._down and (ticks - self._since) & (TICKS_PERIOD - 1) >= DEBOUNCE_MS:
            self._settled = self._down
            if self._down:
                self._pushed = self._since
            elif (self._since - self._pushed) & (TICKS_PERIOD - 1) >= ALARM_HOLD_MS:
                self._holds += 1
        self._down = down
        self._since = ticks

    def completed(self, ticks: int) -> bool:
        """Whether the button was let go, since this was last asked, after ALARM_HOLD_MS or more without a break."""
        holds = self._holds  # in this order, an edge in between makes nothing of what it was not
        since = self._since
        pushed = self._pushed
        if self._settled and not self._down and (since - pushed) & (TICKS_PERIOD - 1) >= ALARM_HOLD_MS:
            holds += DEBOUNCE_MS <= (ticks - since) & (TICKS_PERIOD - 1) < TICKS_PERIOD // 2
        if holds <= self._told:
            return False
        self._told = holds
        return True
