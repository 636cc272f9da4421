"""The battery: how much of it may be used for what, and how often it is looked at.

Rules that hold here:

- A reserve is kept for the alarm: ordinary recording stops first, an alarm's clip later, the radio last.
- Whichever is worse counts, the charge or the minutes left at the present load.
- A level that was reached is left only well above it, because a battery recovers when its load is taken off.
"""

from .recording_control import BATTERY_ALARMS_ONLY, BATTERY_GOOD, BATTERY_RADIO_ONLY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .boards.contract import Battery

READ_MS = 10_000

LOW_PERCENT = 20
LOW_MINUTES = 30
ALARMS_ONLY_PERCENT = 10
ALARMS_ONLY_MINUTES = 15
"""A radio that only waits for its answers uses about a fifth of what recording does: an hour and more is left."""
RADIO_ONLY_PERCENT = 4
RADIO_ONLY_MINUTES = 5
RECOVERY_PERCENT = 5


class BatteryWatch:
    """The last reading (`percent` 0..100, `minutes` left) and what follows from it."""

    def __init__(self, battery: "Battery") -> None:
        self._battery = battery
        self._next_ms = 0
        self.percent = 100
        self.minutes = 0xFFFF
        self.low = False
        self.level = BATTERY_GOOD

    def poll(self, now_ms: int) -> bool:
        """Read when it is time; returns whether `level` changed. Raises OSError when the gauge does not answer."""
        if now_ms < self._next_ms:
            return False
        self._next_ms = now_ms + READ_MS
        percent, minutes = self._battery.read()
        self.percent = max(0, min(100, percent))
        self.minutes = max(0, min(0xFFFF, minutes))
        self.low = self._below(LOW_PERCENT, LOW_MINUTES, self.low)
        before = self.level
        if self._below(RADIO_ONLY_PERCENT, RADIO_ONLY_MINUTES, before >= BATTERY_RADIO_ONLY):
            self.level = BATTERY_RADIO_ONLY
        elif self._below(ALARMS_ONLY_PERCENT, ALARMS_ONLY_MINUTES, before >= BATTERY_ALARMS_ONLY):
            self.level = BATTERY_ALARMS_ONLY
        else:
            self.level = BATTERY_GOOD
        return self.level != before

    def _below(self, percent: int, minutes: int, already: bool) -> bool:
        if already:
            percent += RECOVERY_PERCENT
            minutes *= 2
        return self.percent <= percent or self.minutes <= minutes
