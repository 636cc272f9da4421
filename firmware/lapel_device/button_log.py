"""What became of the buttons while a loop was busy: their edges, kept by the pins' interrupts until the loop looks.

A TLS handshake keeps a Pico W's loop from looking for up to three seconds, a write to flash for a tenth of one. Rules
that hold here:

- `edge` may run in a hard interrupt: it allocates nothing, and only it writes what both sides read. Whoever reads looks
  whether an edge came in between, and reads again.
- A level that was over when the loop looked counts only if it had held for DEBOUNCE_MS, as in `gestures`: bounce
  neither breaks a hold nor makes one. What a look has seen itself is not told again.
- Of more changes in one stall than are kept, the latest are kept.
- Times are a board's ticks, which wrap.
"""

from array import array

from lapel_protocol.limits import TICKS_PERIOD

from .gestures import ALARM_BUTTON, DEBOUNCE_MS, RECORD_BUTTON

_MASK = TICKS_PERIOD - 1

CHANGES = 64
"""Kept of each button: those of 3.8 s of the quickest fingers, which hold a level for 60 ms."""

NONE = -1
_MOST_STATES = 6 * CHANGES
"""In one look, with those of now: more than can be kept. A contact that never stops changing does not keep a loop."""


class EdgeLog:
    """One button. Tell it every edge; ask it for what has changed."""

    def __init__(self) -> None:
        self.down = False
        self._log = array("i", [0] * CHANGES)  # ticks of a push, ~ticks of letting go
        self._logged = 0
        self._taken = 0
        self._edges = 0
        self._found_edges = NONE  # of a change that is not logged, for no edge has come after it
        self._told_edges = NONE
        self._told_at = TICKS_PERIOD  # as in _log; this is none
        self._level = False
        self._since = 0
        self._settled = False

    def edge(self, down: bool, ticks: int) -> None:
        """The contact changed; a repeat of the present level stands for two changes too quick to be seen apart."""
        level = self._level
        if down == level:
            return
        since = self._since
        if self._settled != level and (ticks - since) & _MASK >= DEBOUNCE_MS:
            self._settled = level
            self._log[self._logged % CHANGES] = since if level else ~since
            self._logged = (self._logged + 1) & _MASK
        self._level = down
        self._since = ticks
        self._edges = (self._edges + 1) & _MASK

    def next_age(self, ticks: int, within_ms: int) -> int:
        """The age in ms of the first change that was not taken and is at most `within_ms` old, NONE = there is none;
        `down` is then its level.
        """
        self._found_edges = NONE
        while True:
            edges = self._edges
            if self._taken != self._logged:
                if (self._logged - self._taken) & _MASK > CHANGES:
                    self._taken = (self._logged - CHANGES) & _MASK
                at = self._log[self._taken % CHANGES]
                if (self._logged - self._taken) & _MASK > CHANGES:
                    continue
                self.down = at >= 0
                age_ms = (ticks - (at if at >= 0 else ~at)) & _MASK
                if age_ms <= within_ms and at != self._told_at:
                    return age_ms
                if age_ms > TICKS_PERIOD >> 1:
                    return NONE  # it came after the look
                self._taken = (self._taken + 1) & _MASK
                continue
            level = self._level
            since = self._since
            settled = self._settled
            if edges != self._edges:
                continue
            age_ms = (ticks - since) & _MASK
            if level == settled or edges == self._told_edges or age_ms > within_ms:
                return NONE
            self.down = level
            self._found_edges = edges
            self._told_at = since if level else ~since
            return age_ms

    def take(self) -> None:
        """The change that `next_age` found is told."""
        if self._found_edges == NONE:
            self._taken = (self._taken + 1) & _MASK
        else:
            self._told_edges = self._found_edges


class ButtonLog:
    """Both buttons, as states in the order in which they were."""

    def __init__(self, ticks: int) -> None:
        """`ticks`: of the first look."""
        self.mask = 0
        self.ticks = ticks
        self.record = EdgeLog()
        self.alarm = EdgeLog()
        self._looked = ticks
        self._told = 0
        self._changed = NONE

    def look(self, levels: int, ticks: int) -> bool:
        """Take the next state: `mask`, as it was at `self.ticks`. True: one that no look has seen, and there are more.
        False: `levels`, which are those of `ticks`, now.

        Each change is two states of one time, that before it and that after it.
        """
        self._told += 1
        if self._changed >= 0:
            self.mask = self._changed
            self._changed = NONE
            return True
        within_ms = (ticks - self._looked) & _MASK
        record_ms = self.record.next_age(ticks, within_ms)
        alarm_ms = self.alarm.next_age(ticks, within_ms)
        if record_ms == alarm_ms == NONE or self._told >= _MOST_STATES:
            self._told = 0
            self.mask = levels
            self.ticks = self._looked = ticks
            return False
        record_first = record_ms >= alarm_ms
        log = self.record if record_first else self.alarm
        bit = RECORD_BUTTON if record_first else ALARM_BUTTON
        down = self.mask | bit
        up = down ^ bit
        self.mask = up if log.down else down
        self._changed = down if log.down else up
        self.ticks = (ticks - (record_ms if record_first else alarm_ms)) & _MASK
        log.take()
        return True
