"""Sequences of short and long pushes of RECORD, by which the wearer cancels the alarm that is latched, or seems to.

Loaded only on a device that was provisioned with one. Rules that hold here:

- A pause ends a sequence. Nothing shows before it how much was right, and a sequence that means duress takes as long,
  looks the same, and leaves the same on storage as one that cancels.
- A sequence names the alarm that is latched; each says its word about it once.
- While an alarm is latched, RECORD's presses are symbols and nothing else. Holding it is still what it was.
"""

from . import gestures

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from .alarm_control import AlarmControl

    class Host(Protocol):
        """What is asked of the device."""

        def send_cancel(self, now_ms: int) -> None: ...

        def send_duress(self, now_ms: int) -> None: ...


PAUSE_MS = 1500
"""Longer than anybody hesitates who knows the sequence."""

_MAX_SYMBOLS = 8
_HOLDS = gestures.RECORD_HOLD | gestures.RECORD_DOUBLE_HOLD | gestures.DRILL_HOLD | gestures.ALARM_HOLD
_PRESSES = gestures.RECORD_PRESS | gestures.RECORD_DOUBLE | gestures.RECORD_TRIPLE


class PinEntry:
    """Sequences like "SLSS"; an empty one is never typed."""

    def __init__(self, cancel: str, duress: str, alarm: "AlarmControl", host: "Host") -> None:
        self._cancel = cancel
        self._duress = duress
        self._alarm = alarm
        self._host = host
        self._typed = ""
        self._last_ms = 0
        self._boot = 0
        self._counter = 0
        self._said = ""

    def take(self, found: int, down: bool, at_ms: int, now_ms: int) -> int:
        """The gestures of a sample of `at_ms` while an alarm is latched (`down`: a button is); returns those that are
        left.
        """
        alarm = self._alarm
        if alarm.counter != self._counter or alarm.boot != self._boot:
            self._boot = alarm.boot
            self._counter = alarm.counter
            self._typed = self._said = ""
        if found & _HOLDS:
            self._typed = ""
        elif found & (gestures.RECORD_SHORT | gestures.RECORD_LONG) and len(self._typed) <= _MAX_SYMBOLS:
            self._typed += "L" if found & gestures.RECORD_LONG else "S"
        if down or found:
            self._last_ms = at_ms
        elif self._typed and at_ms - self._last_ms >= PAUSE_MS:
            self._ended(now_ms)
        return found & ~_PRESSES

    def _ended(self, now_ms: int) -> None:
        typed = self._typed
        self._typed = ""
        self._alarm.show_again(now_ms)
        if typed not in (self._cancel, self._duress):
            return
        self._alarm.cancel(now_ms)
        word = "c" if typed == self._cancel else "d"
        if word in self._said:
            return
        self._said += word
        if word == "c":
            self._host.send_cancel(now_ms)
        else:
            self._host.send_duress(now_ms)
