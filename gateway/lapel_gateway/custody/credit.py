"""How much each device may have under way: end-to-end flow control, because a broker drops what it cannot queue.

Rules that hold here
- A window is absolute: bytes beyond what the gateway says it holds, whatever was sent before. Repeating it is harmless.
- All windows together stay below what the broker queues for the gateway, as far as the least window allows.
- While the disk is full every window is 0.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

WINDOW_BYTES = 4 << 20
ALARM_WINDOW_BYTES = 1 << 20

SHARE_BYTES = 48 << 20
"""Credit under way to all devices together: below what the broker queues for the gateway (64 MiB)."""

LEAST_WINDOW_BYTES = 64 << 10
"""Credit that a device always has: four chunks, so that a slow link stays busy."""

ACTIVE_MS = 120_000
"""A device that sent clips within this time takes part in sharing the credit."""

TELL_FRACTION = 4
"""A device is told of its progress whenever this fraction of its smaller window has arrived."""


@dataclass(frozen=True, slots=True)
class Windows:
    """Credit for one device, in bytes."""

    window_bytes: int
    alarm_window_bytes: int


class CreditBook:
    """Who is sending, and how much arrived since each was last told. Times are Unix milliseconds."""

    def __init__(self, window_bytes: int, alarm_window_bytes: int) -> None:
        self._most = Windows(window_bytes, alarm_window_bytes)
        self._active: OrderedDict[bytes, int] = OrderedDict()
        self._untold: dict[bytes, int] = {}
        self.closed = False
        """No room: nobody may send."""

    @property
    def active(self) -> Iterable[bytes]:
        """Devices that sent clips lately."""
        return self._active.keys()

    def sending(self, device: bytes, now_ms: int) -> None:
        """A device sent a message of the clip lane."""
        self._active[device] = now_ms
        self._active.move_to_end(device)

    def windows(self, now_ms: int) -> Windows:
        """What one device may have under way now."""
        if self.closed:
            return Windows(0, 0)
        while self._active and next(iter(self._active.values())) < now_ms - ACTIVE_MS:
            device, _ = self._active.popitem(last=False)
            self._untold.pop(device, None)
        share = max(LEAST_WINDOW_BYTES, SHARE_BYTES // max(1, len(self._active)))
        return Windows(min(share, self._most.window_bytes), self._most.alarm_window_bytes)

    def arrived(self, sizes: dict[bytes, int], now_ms: int) -> dict[bytes, int]:
        """Bytes untold of each device once `sizes` more are durable; 0 for those that are to be told now."""
        windows = self.windows(now_ms)
        due = min(windows.window_bytes, windows.alarm_window_bytes) // TELL_FRACTION
        totals = {device: size + self._untold.get(device, 0) for device, size in sizes.items()}
        return {device: 0 if total >= due else total for device, total in totals.items()}

    def told(self, untold: dict[bytes, int]) -> None:
        """Keep what `arrived` returned, after the commit."""
        self._untold.update(untold)
