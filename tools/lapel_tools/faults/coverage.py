"""What a run of seeds met: how often each fault was planned, and how often it did something.

A fault that never bites proves nothing, so a run says both, and a test holds that each kind of fault had an effect.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from .plan import FAULTS
from .schedule import Result

Row = tuple[str, str, str]


class Coverage:
    """Sums up results."""

    def __init__(self) -> None:
        self.fired: Counter[str] = Counter()
        self.effects: Counter[str] = Counter()

    def add(self, result: Result) -> None:
        """One more seed."""
        self.fired.update(result.fired)
        self.effects.update(result.effects)

    def toothless(self) -> list[str]:
        """Kinds of faults that never had an effect."""
        return [fault for fault in FAULTS if not self.effects[fault]]

    def rows(self) -> list[Row]:
        """(what, how often it was planned, how often it had an effect), faults first, then what else was counted."""
        rows = [(fault, str(self.fired[fault]), str(self.effects[fault])) for fault in sorted(FAULTS)]
        return rows + [
            (what, str(self.fired[what]) if what in self.fired else "", str(count) if count else "")
            for what, count in sorted(_others(self.effects, self.fired))
        ]


def _others(effects: Counter[str], fired: Counter[str]) -> Iterable[tuple[str, int]]:
    for what in (effects.keys() | fired.keys()) - set(FAULTS):
        # Every batch passes all the steps; what counts is the deaths between them.
        if not what.startswith("step "):
            yield what, effects[what]
