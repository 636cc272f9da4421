"""What a fleet saw: counts, and how long it waited for what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share (0 to 1) of the values do not exceed; 0 where there are none."""
    if not values:
        return 0.0
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -(-int(share * len(ordered) * 1000) // 1000) - 1))]


@dataclass
class Tally:
    """Counts of everything, and waiting times in milliseconds."""

    counts: Counter[str] = field(default_factory=Counter)
    """What happened how often: `hellos`, `alarms`, `segments`, ..."""
    refused: Counter[str] = field(default_factory=Counter)
    """Commands that a device refused, by the protocol's reason."""
    drops: Counter[str] = field(default_factory=Counter)
    """Connections lost or not made, by reason."""
    connects: Counter[int] = field(default_factory=Counter)
    """Attempts to connect in each second of the run."""
    hello_ms: list[float] = field(default_factory=list)
    """Hello to welcome."""
    heartbeat_ms: list[float] = field(default_factory=list)
    """Heartbeat to the new challenge that answers it; one whose challenge is fresh needs no answer."""
    alarm_ms: list[float] = field(default_factory=list)
    """Press to the gateway's receipt at the device, its time without a connection included."""
    clip_ms: list[float] = field(default_factory=list)
    """End of a clip to its custody receipt."""

    @property
    def peak_connects(self) -> int:
        """The most attempts to connect in one second."""
        return max(self.connects.values(), default=0)
