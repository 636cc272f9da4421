"""A device's outside: the buttons that a scenario presses and the light, buzzer and vibration that it watches."""

import threading
from collections.abc import Callable

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
        self._latch = HoldLatch()

    def power_on(self) -> None:
        """The board's latch of ALARM's edges starts anew; a button may be down already."""
        with self._changed:
            self._latch = HoldLatch()
            self._latch.edge(bool(self._mask & ALARM), host_ms())

    def set(self, mask: int) -> None:
        """Hold exactly the buttons of `mask` down."""
        with self._changed:
            if mask == self._mask:
                return
            pressed, released = mask & ~self._mask, self._mask & ~mask
            self._mask = mask
            self._latch.edge(bool(mask & ALARM), host_ms())
            self._seen_mask = -1  # the new level counts from the read that first sees it
        for button, name in BUTTON_NAMES.items():
            if (pressed | released) & button:
                self._note("button", button=name, down=bool(pressed & button))

    @property
    def mask(self) -> int:
        return self._mask

    @property
    def reads(self) -> int:
        """How often the device has looked."""
        return self._reads

    def read(self, at_ms: int) -> int:
        """The device looks, at a host time."""
        with self._changed:
            if self._seen_mask != self._mask:
                self._seen_mask = self._mask
                self._seen_since_ms = at_ms
            self._last_read_ms = at_ms
            self._reads += 1
            self._changed.notify_all()
            return self._mask | (ALARM_WAS_HELD if self._latch.completed(at_ms) else 0)

    def wait_seen(self, duration_ms: int, timeout_s: float) -> bool:
        """Wait until the device has seen the present level over `duration_ms`; False when it did not look for
        `timeout_s`.
        """
        with self._changed:
            while not (self._seen_mask == self._mask and self._last_read_ms - self._seen_since_ms >= duration_ms):
                if not self._changed.wait(timeout_s):
                    return False
            return True


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
