"""Buttons to gestures: debounced levels, and presses, holds and double presses read from them.

Rules that hold here:

- A press is delivered when the button is let go before the hold time; a hold as soon as its time is reached,
  and letting go afterwards means nothing. So one push is one gesture, never two.
- A double press is a gesture of its own. Only while `defer_single` is set (visits are in use, where it means
  "check in") does a single press wait to see whether a second follows, and is a second push that is held its own.
- Only then, too, are more presses counted: a double press is told of at once, just three presses as a triple when no
  fourth has followed. Whoever presses on and on has made a double press and nothing else.
- Both buttons pushed together and held are a drill where `drills` is set, and else a hold of ALARM like any. Where a
  drill ends early, what was long enough for a hold of ALARM is one.
- Beside all this, every push of RECORD that is let go before its hold is told of as short or long.
- Gestures are bits, because two buttons can complete theirs in the same sample.
- Times are milliseconds that never wrap. A sample that comes late delays a gesture; a hold needs a sample
  that still shows the button down, so a stalled loop cannot turn a short press into a hold.
- A board that kept the edges of a stall (`button_log`) gives the samples that were missed, two for each change at its
  time; they are samples like any. Nor does a stalled loop make single presses of quick ones where a board could not
  keep them: a push that was found down may have begun right after the sample before, and counts as if it had when it
  is asked whether it soon followed another.
"""

RECORD_BUTTON = 0x01
ALARM_BUTTON = 0x02
CASE_OPEN = 0x08
"""A level, of boards that can tell."""

NO_GESTURE = 0
RECORD_PRESS = 0x01
RECORD_HOLD = 0x02
RECORD_DOUBLE = 0x04
ALARM_HOLD = 0x08
DRILL_HOLD = 0x10
RECORD_SHORT = 0x20
RECORD_LONG = 0x40
RECORD_DOUBLE_HOLD = 0x80
RECORD_TRIPLE = 0x100

DEBOUNCE_MS = 30
"""Contacts of the tact switches used settle within 10 ms; a level must hold this long to count."""

RECORD_HOLD_MS = 1500
ALARM_HOLD_MS = 2000
"""Long enough that a fall or a hug on a recessed button does not raise an alarm."""

DOUBLE_PRESS_MS = 400
"""From letting go of one press to pushing the next."""

LONG_PRESS_MS = 500
"""Twice what an unhurried press takes, and a second less than a hold."""

DRILL_HOLD_MS = 3000
TOGETHER_MS = 500
"""Two thumbs are not that far apart; who finds ALARM while holding RECORD for something else may be."""


_BOTH = RECORD_BUTTON | ALARM_BUTTON


class Debouncer:
    """Raw levels in, settled levels out, each button on its own."""

    def __init__(self, buttons: int) -> None:
        """`buttons`: how many low bits of the mask are buttons (1 to 8).

        `since_ms` says when each took its present raw level, so that a hold counts from the push itself, and `after_ms`
        the sample before, which showed the other one.
        """
        self.settled = 0
        self.since_ms = [0] * buttons
        self.after_ms = [0] * buttons
        self._raw = 0
        self._sampled_ms = 0

    def sample(self, mask: int, now_ms: int) -> int:
        """The settled levels after this sample, as a mask like `mask`."""
        changed = mask ^ self._raw
        self._raw = mask
        for index in range(len(self.since_ms)):
            bit = 1 << index
            if changed & bit:
                self.since_ms[index] = now_ms
                self.after_ms[index] = self._sampled_ms
            elif (mask ^ self.settled) & bit and now_ms - self.since_ms[index] >= DEBOUNCE_MS:
                self.settled ^= bit
        self._sampled_ms = now_ms
        return self.settled


class Gestures:
    """Reads gestures from samples of the raw button mask (bit 0 RECORD, bit 1 ALARM)."""

    def __init__(self) -> None:
        self.defer_single = False
        self.drills = False  # by default two buttons that are squeezed in fright are a real alarm
        self._debouncer = Debouncer(2)
        self._record_down_ms = -1
        self._record_held = False
        self._alarm_down_ms = -1
        self._alarm_held = False
        self._last_press_ms = -1
        self._follows = False  # the push of now came soon after the press before
        self._presses = 0  # quick ones in a row, 4 = more than three
        self._together = False
        self._alarm_kept_back = False

    def sample(self, mask: int, now_ms: int) -> int:
        """The gestures completed by this sample, as bits (NO_GESTURE = none). Call every 10 to 20 ms."""
        levels = self._debouncer.sample(mask, now_ms)
        self._together = self.drills and self._are_together(levels & mask)
        found = self._record(levels, mask, now_ms) | self._alarm(levels, mask, now_ms)
        return found | self._drill(now_ms)

    def _are_together(self, down: int) -> bool:
        """Whether both were pushed at one time, and are down; before they count for anything of their own."""
        if down & _BOTH != _BOTH or self._alarm_held:
            return False
        since_ms = self._debouncer.since_ms
        record_ms = self._record_down_ms if self._record_down_ms >= 0 else since_ms[0]
        alarm_ms = self._alarm_down_ms if self._alarm_down_ms >= 0 else since_ms[1]
        return -TOGETHER_MS < record_ms - alarm_ms < TOGETHER_MS

    def _drill(self, now_ms: int) -> int:
        if not self._together or now_ms - max(self._record_down_ms, self._alarm_down_ms) < DRILL_HOLD_MS:
            return NO_GESTURE
        self._alarm_held = True
        return DRILL_HOLD

    def _alarm(self, levels: int, mask: int, now_ms: int) -> int:
        if not levels & ALARM_BUTTON:
            broken = self._alarm_kept_back and not self._alarm_held
            self._alarm_down_ms = -1
            self._alarm_held = self._alarm_kept_back = False
            return ALARM_HOLD if broken else NO_GESTURE
        if self._alarm_down_ms < 0:
            self._alarm_down_ms = self._debouncer.since_ms[1]
        if self._alarm_held or not mask & ALARM_BUTTON or now_ms - self._alarm_down_ms < ALARM_HOLD_MS:
            return NO_GESTURE
        if self._together:
            self._alarm_kept_back = True
            return NO_GESTURE
        self._alarm_held = True
        return ALARM_HOLD

    def _record(self, levels: int, mask: int, now_ms: int) -> int:
        if levels & RECORD_BUTTON:
            return self._record_is_down(mask, now_ms)
        if self._record_down_ms >= 0:
            return self._record_was_let_go(now_ms)
        over = now_ms - self._last_press_ms > DOUBLE_PRESS_MS + DEBOUNCE_MS
        return self._concluded() if over and not (mask & RECORD_BUTTON and self._soon()) else NO_GESTURE

    def _soon(self) -> bool:
        """Whether the present raw level may have come soon after the press before."""
        return self._last_press_ms >= 0 and self._debouncer.after_ms[0] - self._last_press_ms <= DOUBLE_PRESS_MS

    def _concluded(self) -> int:
        """What the presses so far were, now that no more follow."""
        presses = self._presses
        self._presses = 0
        return RECORD_PRESS if presses == 1 else RECORD_TRIPLE if presses == 3 else NO_GESTURE

    def _record_is_down(self, mask: int, now_ms: int) -> int:
        found = NO_GESTURE
        if self._record_down_ms < 0:
            self._record_down_ms = self._debouncer.since_ms[0]
            self._record_held = False
            self._follows = self._soon()
            if not self._follows:
                found = self._concluded()
        if self._record_held or not mask & RECORD_BUTTON or now_ms - self._record_down_ms < RECORD_HOLD_MS:
            return found
        self._record_held = True
        if self._together:
            return found
        # Presses that were kept back for another one are overtaken by the hold: one push more, one gesture.
        second = self._follows and self.defer_single and self._presses < 2
        self._presses = 0
        self._last_press_ms = -1
        return found | (RECORD_DOUBLE_HOLD if second else RECORD_HOLD)

    def _record_was_let_go(self, now_ms: int) -> int:
        # Let go in fact when the raw level fell; the debounced level is a little later.
        released_ms = self._debouncer.since_ms[0]
        length = RECORD_LONG if released_ms - self._record_down_ms >= LONG_PRESS_MS else RECORD_SHORT
        self._record_down_ms = -1
        if self._record_held:
            self._record_held = False
            return NO_GESTURE
        self._last_press_ms = released_ms
        if self.defer_single:
            self._presses = min(self._presses, 3) + 1 if self._follows else 1
            return RECORD_DOUBLE | length if self._presses == 2 else length
        if self._follows:
            self._last_press_ms = -1
            return RECORD_DOUBLE | length
        return RECORD_PRESS | length
