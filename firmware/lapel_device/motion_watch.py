"""Watches how the wearer moves, when a setting asks for it: the accelerometer, man-down, its warning and its buttons.

Imported only then. Rules that hold here:

- The sensor collects by itself and is visited ten times a second; a visit allocates nothing.
- A sensor that does not answer is reported once a boot and started again; nothing else suffers from it, and a warning
  that is on goes on.
- Only a push that began in the warning cancels it: who lies on a button has not said no. The push does nothing else,
  but held on, ALARM still raises an alarm.
"""

from . import feedback, gestures
from .man_down import RAISE, RAISED, STOP_WARNING, WARN, WARNING, WATCHING, ManDown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from lapel_protocol.orders import SettingsChange

    from .boards.contract import Accelerometer
    from .feedback import Feedback

    class Host(Protocol):
        """What the watch asks of the device."""

        def on_man_down(self, now_ms: int) -> None: ...

        def on_accelerometer_failed(self, now_ms: int) -> None: ...


VISIT_MS = 100
RETRY_MS = 5000
NOTICED_MS = 100
"""How long the motor may have been on before it is seen here, a late turn of the loop included."""
OWN_MS = 200
"""How long the case still shakes after the motor was switched off."""
SEEN_AGAIN_MS = 1000
"""Samples are fetched within this, so what shook before needs not be known any longer."""
AFTER_PUSH_MS = 800
"""Longer than it takes to see that no press follows: what is read from the push that cancelled comes within this."""


class MotionWatch:
    """One wearer, one sensor, and the device that raises the alarm."""

    def __init__(self, sensor: "Accelerometer", settings: "SettingsChange", display: "Feedback", host: "Host") -> None:
        self._sensor = sensor
        self._host = host
        self._display = display
        self._detector = ManDown(settings)
        self._started = False
        self._reported = False
        self._visit_ms = 0
        self._own_from_ms = 0
        self._own_until_ms = 0
        self._pushed_ms = -1
        self._fresh = False
        self._cancelled = False
        self._swallow_until_ms = -1

    @property
    def warning(self) -> bool:
        """Whether the wearer is being asked."""
        return self._detector.state == WARNING

    @property
    def alert(self) -> bool:
        """Whether something may have happened to the wearer: a fall that is being watched, or a warning."""
        return self._detector.state not in (WATCHING, RAISED)

    def stop(self) -> None:
        """Switch the sensor off; it does not matter whether it answers."""
        self._display.switch(feedback.MAN_DOWN, False, 0)
        try:
            self._sensor.stop()
        except OSError:
            return

    def poll(self, now_ms: int) -> None:
        """Call at least every 20 ms: the motor's pulses are seen here."""
        if self._display.vibrating:
            if now_ms - self._own_until_ms > SEEN_AGAIN_MS:
                self._own_from_ms = now_ms - NOTICED_MS
            self._own_until_ms = now_ms + OWN_MS
        if now_ms < self._visit_ms:
            return
        self._visit_ms = now_ms + VISIT_MS
        todo = 0
        try:
            if not self._started:
                self._sensor.start()
                self._started = True
            todo = self._fetch(now_ms)
        except OSError:
            self._started = False
            self._visit_ms = now_ms + (VISIT_MS if self.warning else RETRY_MS)
            if not self._reported:
                self._reported = True
                self._host.on_accelerometer_failed(now_ms)
        self._do(todo | self._detector.tick(now_ms), now_ms)

    def _fetch(self, now_ms: int) -> int:
        sensor = self._sensor
        todo = 0
        count = sensor.read()
        while count:
            samples = sensor.samples
            at_ms = now_ms - (sensor.behind + count - 1) * sensor.interval_ms
            for index in range(0, 3 * count, 3):
                own = self._own_from_ms <= at_ms < self._own_until_ms
                todo |= self._detector.feed(samples[index], samples[index + 1], samples[index + 2], at_ms, own)
                at_ms += sensor.interval_ms
            count = sensor.read()
        return todo

    def buttons(self, mask: int, at_ms: int, now_ms: int) -> None:
        """The raw levels, at each sample of the buttons, as they were at `at_ms`."""
        if not mask:
            self._pushed_ms = -1
            if self._cancelled:
                self._cancelled = False
                self._swallow_until_ms = at_ms + AFTER_PUSH_MS
            return
        if self._pushed_ms < 0:
            self._pushed_ms = at_ms
            self._fresh = True
            # Whoever presses on and on cancels, and says nothing of a visit.
            self._cancelled = at_ms < self._swallow_until_ms
        if not self._fresh or at_ms - self._pushed_ms < gestures.DEBOUNCE_MS:
            return
        self._fresh = False
        todo = self._detector.cancel()
        if todo & STOP_WARNING:
            self._cancelled = True
        self._do(todo, now_ms)

    def swallows(self, at_ms: int) -> bool:
        """Whether the RECORD button's gestures belong to a push that cancelled a warning."""
        return self._cancelled or at_ms < self._swallow_until_ms

    def _do(self, todo: int, now_ms: int) -> None:
        if todo & WARN:
            self._display.show(feedback.MAN_DOWN, now_ms)
        if todo & STOP_WARNING:
            self._display.switch(feedback.MAN_DOWN, False, now_ms)
        if todo & RAISE:
            self._host.on_man_down(now_ms)
