"""A simulated device in the hands of a scenario: pressing, holding, watching, measuring."""

from typing import Any

from .hosttime import host_ms
from .machine import DeviceFailed, Machine
from .memory import HeapState
from .motion import tilted, walk
from .panel import ALARM, RECORD, check_pattern_name

__all__ = ["DeviceFailed", "SimDevice"]

# A pause that the firmware's debounce takes, with room to spare.
_PAUSE_MS = 80
_PRESS_MS = 120
_BUTTON_TIMEOUT_S = 10.0
_SHOW_TIMEOUT_S = 20.0
_BUTTONS = {"RECORD": RECORD, "ALARM": ALARM, "BOTH": RECORD | ALARM}


class SimDevice(Machine):
    """A device of a World; see World.add_device.

    Methods are for one scenario thread; the device itself runs beside it. A press begins when the device looks at its
    buttons next, and lasts to the millisecond, also where the device has no time to look.
    """

    def press(self, button: str, times: int = 1) -> None:
        """Press RECORD, ALARM or BOTH and release, so many times in quick succession. Raises DeviceFailed when the
        device does not look at its buttons.
        """
        self.hold(button, *[_PRESS_MS] * times)

    def hold(self, button: str, *durations_ms: int) -> None:
        """Hold for a duration and release, for each of them in quick succession. Raises DeviceFailed when the device
        does not look at its buttons.
        """
        if button not in _BUTTONS:
            raise ValueError(f"no button is called {button!r}; there are RECORD, ALARM and BOTH")
        mask = _BUTTONS[button]
        others = self.buttons.mask & ~mask
        self._acted_ms = host_ms()
        self.buttons.play(
            [level for held_ms in durations_ms for level in ((others | mask, held_ms), (others, _PAUSE_MS))]
        )
        if not self.buttons.wait_played(_BUTTON_TIMEOUT_S):
            raise DeviceFailed(f"{self.name} does not look at its buttons\n{self.console_tail()}")

    def fall(self, peak: float = 4.0) -> None:
        """Let the wearer fall now and lie still afterwards; `peak` is the impact in times the weight."""
        self._acted_ms = host_ms()
        self.note("motion", what="fall")
        self.motion.fall(self._acted_ms * 1000, peak=peak)

    def move(self, steps_hz: float = 1.9) -> None:
        """Let the wearer walk, upright, from now on."""
        self._acted_ms = host_ms()
        self.note("motion", what="walk")
        self.motion.posture = tilted(0)
        self.motion.begin(self._acted_ms * 1000, walk(steps_hz))

    def shows(self, pattern: str, within_ms: int = 5000) -> bool:
        """Whether the light showed this pattern of lapel_device.pattern_names in the last `within_ms` (patterns that
        are on together take turns).
        """
        check_pattern_name(pattern)
        now = host_ms()
        return self.indicator.shown_since(pattern, now - within_ms, now)

    def wait_shown(self, pattern: str, timeout_s: float = _SHOW_TIMEOUT_S) -> float:
        """Wait until the light has shown this pattern since the last press, hold or power-on; returns the seconds
        since then. Raises DeviceFailed when it has not after `timeout_s`.
        """
        check_pattern_name(pattern)
        acted_ms, started_ms = self._acted_ms, host_ms()
        while not self.indicator.shown_since(pattern, acted_ms, host_ms()):
            if host_ms() - started_ms > timeout_s * 1000:
                raise DeviceFailed(
                    f"{self.name} did not show {pattern!r} within {timeout_s} s; last: {self.indicator.pattern!r}\n"
                    f"{self.console_tail()}"
                )
            self.journal.wait(0.05)
        return (host_ms() - acted_ms) / 1000

    def wait_quiet(self, quiet_ms: int = 700, timeout_s: float = 30.0) -> None:
        """Wait until nothing has been written to the disk or the sectors for `quiet_ms`. Raises DeviceFailed."""
        started_ms = changed_ms = host_ms()
        steps = dict(self.power.steps)
        while host_ms() - changed_ms < quiet_ms:
            if host_ms() - started_ms > timeout_s * 1000:
                raise DeviceFailed(f"{self.name} still writes after {timeout_s} s\n{self.console_tail()}")
            self.journal.wait(0.05)
            if self.power.steps != steps:
                steps, changed_ms = dict(self.power.steps), host_ms()

    def frames(self, boot: int | None = None) -> list[dict[str, Any]]:
        """The journal's frames that this device was given and that fitted its buffer, of all boots or of one."""
        given = self.journal.entries("frame", device=self.name, fits=True)
        if boot is None:
            return given
        starts = [entry["at_ms"] for entry in self.journal.entries("power", device=self.name, on=True)]
        end = starts[boot] if boot < len(starts) else None
        return [
            entry for entry in given if entry["at_ms"] >= starts[boot - 1] and (end is None or entry["at_ms"] < end)
        ]

    def measure_heap(self, timeout_s: float = 5.0) -> HeapState:
        """Live bytes after a collection and the largest free block, now. Raises DeviceFailed when it does not say."""
        state = self._heap.ask(timeout_s)
        if state is None:
            raise DeviceFailed(f"{self.name} did not report its heap\n{self.console_tail()}")
        return state
