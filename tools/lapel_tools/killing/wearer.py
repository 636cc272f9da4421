"""A wearer who records and raises alarms all the time, and switches the device on again whenever its power was cut.

One thread for each device. What the wearer does is decided by the seed; when, by how fast the machine is.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable

from lapel_sim.device import SimDevice
from lapel_sim.hosttime import host_ms
from lapel_sim.panel import ALARM, RECORD

ALARM_PATTERNS = ("alarm raised", "alarm sent", "alarm received", "alarm acknowledged")
STEPS = ("block_write", "block_sync", "sector_erase", "sector_program")
"""Steps that an armed power cut may fall into."""

_LOOKS_S = 1.5  # a device that has power looks at its buttons long before
_SHOWS_S = 6.0
_HOLD_RECORD_MS = 1700
_DEBOUNCE_MS = 80
_HOLD_ALARM_MS = 2200
_RECORD_S = (1.5, 9.0)
_OFF_S = (0.1, 2.5)
_TURN_MS = 3500  # patterns take turns on the light; in this time each of them is seen
_POLL_S = 0.03


class Wearer:
    """Start it with the device provisioned and off. `done` counts what was done."""

    def __init__(self, device: SimDevice, rng: random.Random) -> None:
        self.device = device
        self.done: Counter[str] = Counter()
        self.failed = ""
        self._rng = rng
        self._resting = threading.Event()
        self._ending = threading.Event()
        self._power = threading.Lock()  # one hand at the switch
        self._acted_ms = 0
        self._thread = threading.Thread(target=self._run, name=f"wearer of {device.name}", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def rest(self) -> None:
        """Stop whatever is being recorded and do nothing more, but keep the device on."""
        self._resting.set()

    def end(self) -> None:
        """Let the device be as it is."""
        self._ending.set()
        self._thread.join(30.0)

    def cut(self) -> bool:
        """Cut the device's power now; False when it has none. Any thread may."""
        with self._power:
            if not self.device.power.on:
                return False
            try:
                self.device.cut_power()
            except RuntimeError:
                return False  # an armed cut was faster
            return True

    def cut_at(self, step: str, after: int) -> None:
        """Cut the power in the middle of the `after`-th next step of a kind."""
        self.device.cut_power_at(step, after)

    @property
    def quiet(self) -> bool:
        """Whether the device is on, and has shown neither a recording nor an alarm for a while."""
        waited = host_ms() - self._acted_ms > _TURN_MS
        return waited and self.device.running and not self._shown("recording", *ALARM_PATTERNS)

    # -- the thread --

    def _run(self) -> None:
        try:
            while not self._ending.is_set():
                if not self._switched_on():
                    continue
                if self._resting.is_set():
                    if self._shown("recording"):
                        self._hold(RECORD, _HOLD_RECORD_MS)
                    self._ending.wait(0.5)
                elif self._rng.random() < 0.3 and not self._shown(*ALARM_PATTERNS):
                    self._raise_alarm()
                else:
                    self._record()
        except Exception as error:  # noqa: BLE001 - said at the end of the run; the other devices go on
            self.failed = f"wearer of {self.device.name}: {type(error).__name__}: {error}"

    def _switched_on(self) -> bool:
        """Have the device on and looking at its buttons; False when that did not work this time."""
        device = self.device
        if not device.power.on:
            self._pause(self._rng.uniform(*_OFF_S))
            with self._power:
                if device.power.on:
                    return False
                self._acted_ms = host_ms()
                device.power_on()
        return self._until(lambda: bool(device.indicator.pattern), 15.0)

    def _record(self) -> None:
        if not self._shown("recording"):
            if not self._hold(RECORD, _HOLD_RECORD_MS) or not self._until(lambda: self._shown("recording"), _SHOWS_S):
                return
            self.done["recordings"] += 1
        self._until(self._resting.is_set, self._rng.uniform(*_RECORD_S))
        self._stop()

    def _raise_alarm(self) -> None:
        """Hold ALARM until it is shown as raised, and the clip that it starts runs for a while."""
        if not self._hold(ALARM, _HOLD_ALARM_MS):
            return
        if self._until(lambda: self._shown(*ALARM_PATTERNS), _SHOWS_S):
            self.done["alarm holds"] += 1
        elif self.device.power.on:
            self.done["alarm holds without an answer"] += 1
        self._until(self._resting.is_set, self._rng.uniform(*_RECORD_S))
        self._stop()

    def _stop(self) -> None:
        if self.device.power.on and self._shown("recording"):
            self._hold(RECORD, _HOLD_RECORD_MS)

    def _hold(self, button: int, duration_ms: int) -> bool:
        """Hold a button as long as the device sees it; False when it lost its power meanwhile."""
        buttons = self.device.buttons
        buttons.set(button)
        try:
            seen = self._seen(duration_ms)
        finally:
            buttons.set(0)
            self._acted_ms = host_ms()  # what was shown before says nothing any more
        return seen and self._seen(_DEBOUNCE_MS)

    def _seen(self, duration_ms: int) -> bool:
        while self.device.power.on:
            if self.device.buttons.wait_seen(duration_ms, _LOOKS_S):
                return self.device.power.on
            if self._ending.is_set():
                return False
        return False

    def _shown(self, *patterns: str) -> bool:
        """Whether the light showed one of these lately, and after the last press."""
        now_ms = host_ms()
        since_ms = max(now_ms - _TURN_MS, self._acted_ms)
        return any(self.device.indicator.shown_since(name, since_ms, now_ms) for name in patterns)

    def _until(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Wait for something while the device has power; False when it did not come."""
        deadline = time.monotonic() + timeout_s
        while self.device.power.on and not self._ending.is_set():
            if condition():
                return True
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_S)
        return False

    def _pause(self, seconds: float) -> None:
        self._ending.wait(seconds)
