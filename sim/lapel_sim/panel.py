"""A device's outside: the buttons that a scenario presses and the light, buzzer and vibration that it watches."""

import threading
from collections.abc import Callable, Sequence

from lapel_device.button_log import ButtonLog
from lapel_device.feedback import IDLE
from lapel_device.pattern_names import PATTERN_NAMES, PATTERN_OF_COLOUR

from .hosttime import DeviceTicks, host_ms

RECORD = 1
ALARM = 2
BUTTON_NAMES = {RECORD: "RECORD", ALARM: "ALARM"}
_BOTH = RECORD | ALARM
_NOT_BEGUN = 0

Note = Callable[..., None]


class ButtonModel:
    """The two buttons as a board has them: levels, the edges that its interrupts keep, and what the device has seen."""

    def __init__(self, note: Note) -> None:
        self._note = note
        self._changed = threading.Condition()
        self._mask = 0
        self._looks = 0
        self._seen_mask = 0
        self._seen_since_ms = 0
        self._last_look_ms = 0
        self._to_play: list[tuple[int, int]] = []
        self._due_ms = _NOT_BEGUN
        self._ticks = DeviceTicks(0)
        self._log = ButtonLog(0)

    def power_on(self, ticks: DeviceTicks) -> None:
        """A new boot: the board's interrupts start, and a button may be down already."""
        with self._changed:
            self._ticks = ticks
            self._log = ButtonLog(ticks.now())
            self._edges(_BOTH & self._mask, host_ms())

    def set(self, mask: int) -> None:
        """Hold exactly the buttons of `mask` down, whatever was to be played."""
        with self._changed:
            self._to_play = []
            self._due_ms = _NOT_BEGUN
            changes = self._take(mask, host_ms())
        self._tell(changes)

    def play(self, levels: Sequence[tuple[int, int]]) -> None:
        """Hold each `(mask, duration_ms)` for so long, then the next, and leave the last as it is. It begins when the
        device looks next, and goes on in the world's time, to the millisecond and whether it looks or not.
        """
        with self._changed:
            self._to_play = list(levels)
            self._due_ms = _NOT_BEGUN

    def wait_played(self, timeout_s: float) -> bool:
        """Wait until the device has looked after all of it; False, and no more is played, when it did not look for so
        long.
        """
        with self._changed:
            while self._to_play or self._due_ms > self._last_look_ms:
                if not self._changed.wait(timeout_s):
                    self._to_play = []
                    self._due_ms = _NOT_BEGUN
                    return False
            return True

    @property
    def mask(self) -> int:
        return self._mask

    @property
    def looks(self) -> int:
        """How often the device has looked."""
        return self._looks

    def look(self, at_ms: int) -> tuple[bool, int, int]:
        """The device looks, at a host time: whether it is told of what it missed, the levels, and the device's ticks
        when they were so (lapel_device.boards.contract.Buttons).
        """
        changes = []
        with self._changed:
            if self._to_play and self._due_ms == _NOT_BEGUN:
                self._due_ms = at_ms
            while self._to_play and self._due_ms <= at_ms:
                mask, duration_ms = self._to_play.pop(0)
                changes += self._take(mask, self._due_ms)
                self._due_ms += duration_ms
            missed = self._log.look(self._mask, self._ticks.at(at_ms))
            if not missed:
                self._has_seen(at_ms)
            seen = missed, self._log.mask, self._log.ticks
        self._tell(changes)
        return seen

    def wait_seen(self, duration_ms: int, timeout_s: float) -> bool:
        """Wait until the device has seen the present level over `duration_ms`; False when it did not look for
        `timeout_s`.
        """
        with self._changed:
            while not (self._seen_mask == self._mask and self._last_look_ms - self._seen_since_ms >= duration_ms):
                if not self._changed.wait(timeout_s):
                    return False
            return True

    def _has_seen(self, at_ms: int) -> None:
        if self._seen_mask != self._mask:
            self._seen_mask = self._mask
            self._seen_since_ms = at_ms
        self._last_look_ms = at_ms
        self._looks += 1
        self._changed.notify_all()

    def _take(self, mask: int, at_ms: int) -> list[tuple[str, bool]]:
        """Take these levels; returns the buttons that were pushed or let go by it, and which of both."""
        changed = mask ^ self._mask
        if changed:
            self._mask = mask
            self._edges(changed, at_ms)
            self._seen_mask = -1  # the new level counts from the look that first sees it
        return [(name, bool(mask & button)) for button, name in BUTTON_NAMES.items() if changed & button]

    def _edges(self, changed: int, at_ms: int) -> None:
        for button, log in ((RECORD, self._log.record), (ALARM, self._log.alarm)):
            if changed & button:
                log.edge(bool(self._mask & button), self._ticks.at(at_ms))

    def _tell(self, changes: Sequence[tuple[str, bool]]) -> None:
        for name, down in changes:
            self._note("button", button=name, down=down)


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
