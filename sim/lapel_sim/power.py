"""A device's power: every step that a power cut can fall into goes through here.

A cut may come from outside at any moment (it then falls into whatever step is in progress), or be armed to fall into
the n-th next step of a kind. The step that is hit is torn as its medium tears it; steps before it stand, steps after
it never happen.
"""

import random
import threading
from collections.abc import Callable


class PowerLost(Exception):
    """The device has no power (any more)."""


class Power:
    """Thread-safe switch. `on_lost` runs once for each loss, in the thread that caused it, after the torn step."""

    def __init__(self, rng: random.Random, on_lost: Callable[[str], None]) -> None:
        self._rng = rng
        self._on_lost = on_lost
        self._lock = threading.RLock()
        self._off = threading.Event()
        self._off.set()
        self._on = threading.Event()
        self._armed: dict[str, int] = {}
        self._tear: Callable[[random.Random], None] | None = None
        self.steps: dict[str, int] = {}

    @property
    def on(self) -> bool:
        return not self._off.is_set()

    def wait_off(self, timeout_s: float) -> bool:
        """Wait until there is no power; False after `timeout_s`."""
        return self._off.wait(timeout_s)

    def wait_on(self, timeout_s: float) -> bool:
        """Wait until there is power; False after `timeout_s`."""
        return self._on.wait(timeout_s)

    def restore(self) -> None:
        """Switch on; nothing is armed and no step is counted yet."""
        with self._lock:
            self._armed.clear()
            self.steps.clear()
            self._tear = None
            self._off.clear()
            self._on.set()

    def arm(self, step: str, after: int = 1) -> None:
        """Cut the power in the middle of the `after`-th next step of that kind (1 = the next)."""
        if after < 1:
            raise ValueError("the first step that can be hit is the next one")
        with self._lock:
            self._armed[step] = self.steps.get(step, 0) + after

    def perform(
        self, step: str, cost_s: float, apply: Callable[[], None], tear: Callable[[random.Random], None]
    ) -> None:
        """Carry out one step that takes `cost_s`; `tear` leaves the medium as a cut in the middle of it does. Raises
        PowerLost.
        """
        with self._lock:
            self._require_power()
            self.steps[step] = self.steps.get(step, 0) + 1
            if self.steps[step] == self._armed.get(step):
                tear(self._rng)
                self._lose(f"in the middle of {step}")
                raise PowerLost
            if cost_s <= 0:
                apply()
                return
            self._tear = tear
        self._off.wait(cost_s)
        with self._lock:
            self._require_power()
            self._tear = None
            apply()

    def spend(self, cost_s: float) -> None:
        """Let time pass that the device spends on something that cannot tear. Raises PowerLost."""
        if cost_s > 0:
            self._off.wait(cost_s)
        self._require_power()

    def cut(self, reason: str, before: Callable[[], None] | None = None) -> bool:
        """Cut the power now; False when it was off already. `before` runs after the device's last step."""
        with self._lock:
            if not self.on:
                return False
            if before is not None:
                before()
            if self._tear is not None:
                self._tear(self._rng)
            self._lose(reason)
            return True

    def _lose(self, reason: str) -> None:
        self._off.set()
        self._on.clear()
        self._tear = None
        self._on_lost(reason)

    def _require_power(self) -> None:
        if not self.on:
            raise PowerLost
