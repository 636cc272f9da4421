"""Power that fails at a chosen storage operation."""

from __future__ import annotations

import random
from collections.abc import Callable


class PowerCut(BaseException):
    """The device lost its power inside a storage operation. Not an Exception: firmware must not be able to catch it."""


class Fuse:
    """Counts the storage operations of one device; when armed, the n-th from now is torn and the power is gone."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.operations = 0
        self._blows_at = 0

    def arm(self, after: int) -> None:
        """Blow in the `after`-th next operation (1 = the next)."""
        if after < 1:
            raise ValueError("the first operation that can be hit is the next one")
        self._blows_at = self.operations + after

    def disarm(self) -> None:
        """Power stays on."""
        self._blows_at = 0

    def step(self, apply: Callable[[], None], tear: Callable[[], None]) -> None:
        """Carry out one operation, or tear it and raise PowerCut."""
        self.operations += 1
        if self.operations == self._blows_at:
            self._blows_at = 0
            tear()
            raise PowerCut
        apply()
