"""A device's outside: the buttons that a scenario presses and the light, buzzer and vibration that it watches."""

import threading
from collections.abc import Callable, Sequence

from lapel_device.feedback import IDLE
from lapel_device.gestures import ALARM_WAS_HELD
from lapel_device.hold_latch import HoldLatch
from lapel_device.pattern_names import PATTERN_NAMES, PATTERN_OF_COLOUR

from .hosttime import host_ms

RECORD = 1
ALARM = 2
BUTTON_NAMES = {RECORD: "RECORD", ALARM: "ALARM"}

Note = Callable[..., None]


class ButtonModel:
    """Levels of the two buttons, and how far the device has looked at them: a press lasts in the device's time, not in
    the tester's.
    """

    def __init__(self, note: Note) -> None:
        self._note = note
        self._changed = threading.Condition()
        self._mask = 0
        self._reads = 0
        self._seen_mask = 0
        self._seen_since_ms = 0
        self._last_read_ms = 0
        self._to_play: list[tuple[int, int]] = []
        self._latch = HoldLatch()

    def power_on(self) -> None:
        """The board's latch of ALARM's edges starts anew; a button may be down already."""
        with self._changed:
            self._latch = HoldLatch()
            self._latch.edge(bool(self._mask & ALARM), host_ms())

    def set(self, mask: int) -> None:
        """Hold exactly the buttons of `mask` down, whatever was to be played."""
        with self._changed:
            self._to_play = []
            pushed, let_go = self._take(mask, host_ms())
        self._tell(pushed, let_go)

    def play(self, levels: Sequence[tuple[int, int]]) -> None:
        """Hold each `(mask, duration_ms)` until the device has seen it for so long, then the next, and leave the last
        as it is. The device's own look brings the next level, so that what is in between does not depend on how soon
        a tester's thread gets its turn.
        """
        with self._changed:
            self._to_play = list(levels)
            pushed, let_go = self._take(levels[0][0], host_ms())
        self._tell(pushed, let_go)

    def wait_played(self, timeout_s: float) -> bool:
        """Wait until nothing is left to play; False, and nothing is, when the device did not look for so long."""
        with self._changed:
            while self._to_play:
                if not self._changed.wait(timeout_s):
                    self._to_play = []
                    return False
            return True

    @property
    def mask(self) -> int:
        return self._mask

    @property
    def reads(self) -> int:
        """How often the device has looked."""
        return self._reads

    def read(self, at_ms: int) -> int:
        """The device looks, at a host time."""
        pushed = let_go = 0
        with self._changed:
            if self._to_play and self._seen_mask == self._mask and self._is_over(self._to_play[0][1], at_ms):
                del self._to_play[0]
                if self._to_play:
                    pushed, let_go = self._take(self._to_play[0][0], at_ms)
            if self._seen_mask != self._mask:
                self._seen_mask = self._mask
                self._seen_since_ms = at_ms
            self._last_read_ms = at_ms
            self._reads += 1
            self._changed.notify_all()
            levels = self._mask | (ALARM_WAS_HELD if self._latch.completed(at_ms) else 0)
        self._tell(pushed, let_go)
        return levels

    def wait_seen(self, duration_ms: int, timeout_s: float) -> bool:
        """Wait until the device has seen the present level over `duration_ms`; False when it did not look for
        `timeout_s`.
        """
        with self._changed:
            while not (self._seen_mask == self._mask and self._last_read_ms - self._seen_since_ms >= duration_ms):
                if not self._changed.wait(timeout_s):
                    return False
            return True

    def _is_over(self, duration_ms: int, at_ms: int) -> bool:
        """Whether the present level was held for so long when the device looks. Of a push it has to have seen that, or
        a hold would be none for a device that did not look in time; a pause is over, seen or not.
        """
        return (self._last_read_ms if self._mask else at_ms) - self._seen_since_ms >= duration_ms

    def _take(self, mask: int, at_ms: int) -> tuple[int, int]:
        """Take these levels; returns the buttons that were pushed by it, and those that were let go."""
        pushed, let_go = mask & ~self._mask, self._mask & ~mask
        if pushed | let_go:
            self._mask = mask
            self._latch.edge(bool(mask & ALARM), at_ms)
            self._seen_mask = -1  # the new level counts from the read that first sees it
        return pushed, let_go

    def _tell(self, pushed: int, let_go: int) -> None:
        for button, name in BUTTON_NAMES.items():
            if (pushed | let_go) & button:
                self._note("button", button=name, down=bool(pushed & button))


class IndicatorModel:
    """What the device shows, and by which of the firmware's patterns."""

    def __init__(self, note: Note) -> None:
        self._note = note
        self.rgb = 0
        self.vibrate = False
        self.buzzer_hz = 0
        self._last_shown_ms: dict[str, int] = {}
        self.pattern = ""

    def power_on(self) -> None:
        self.rgb, self.vibrate, self.buzzer_hz, self.pattern = 0, False, 0, ""
        self._last_shown_ms.clear()

    def set(self, rgb: int, vibrate: bool, buzzer_hz: int, at_ms: int) -> None:
        """A change; a colour of none of the firmware's patterns is named "unknown"."""
        if self.rgb and self.pattern:
            self._last_shown_ms[self.pattern] = at_ms
        self.rgb, self.vibrate, self.buzzer_hz = rgb, vibrate, buzzer_hz
        if rgb:
            self.pattern = PATTERN_OF_COLOUR.get(rgb, "unknown")
            self._last_shown_ms[self.pattern] = at_ms
        self._note(
            "indicator", rgb=f"{rgb:06x}", vibrate=vibrate, buzzer_hz=buzzer_hz, pattern=self.pattern if rgb else ""
        )

    def shown_since(self, pattern: str, since_ms: int, now_ms: int) -> bool:
        """Whether the light showed this pattern at any moment from `since_ms` until `now_ms` (host time)."""
        if self.rgb and self.pattern == pattern:
            return True
        return self._last_shown_ms.get(pattern, -1) >= since_ms and now_ms >= since_ms


def check_pattern_name(name: str) -> None:
    """Raises ValueError for a name that no pattern has: a misspelt wait would otherwise only time out."""
    if name not in PATTERN_NAMES:
        raise ValueError(f"no pattern is called {name!r}; there are: {', '.join(PATTERN_NAMES)}")


IDLE_NAME = PATTERN_NAMES[IDLE]
