"""A single lithium cell behind a divider on an ADC pin, as the contract's `Battery`.

Rules that hold here:

- A reading is the middle of many: the radio's bursts pull the voltage down for a millisecond at a time.
- A voltage that no cell has means that the divider or the converter is broken: OSError, not "empty".
- Minutes left come from the board's nominal run time until the charge has fallen by some percent; then from how fast it
  fell. On the charger there is no end.
"""

from time import ticks_diff, ticks_ms  # type: ignore[attr-defined,unused-ignore]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from machine import ADC, Pin

_EIO = 5
_READINGS = 15
_LEAST_MV = 2500
_MOST_MV = 4500
_NO_END = 0xFFFF
_FALLEN_PERCENT = 5
_MINUTE_MS = 60_000
_PERIOD_MS = 1 << 29

# Charge of a LiPo cell at a load of about a fifth of its capacity an hour: millivolts above 3000 in tens, percent.
_CURVE = bytes((118, 100, 108, 91, 98, 80, 92, 70, 86, 60, 82, 50, 79, 40, 77, 30, 74, 20, 69, 10, 60, 4, 30, 0))


class AdcBattery:
    """`millivolts` is the last reading of the cell; `charging` whether USB power was there."""

    def __init__(
        self,
        adc: "ADC",
        full_mv: int,
        divider: "tuple[int, int]",
        nominal_minutes: int,
        usb_power: "Pin | None" = None,
    ) -> None:
        """`full_mv`: what 65535 stands for at the pin; `divider`: (upper, lower) resistor in the same unit.

        `nominal_minutes`: how long a full cell lasts under the board's usual load. `usb_power`: high on the charger.
        """
        self._adc = adc
        self._full_mv = full_mv
        self._divider = divider
        self._nominal_minutes = nominal_minutes
        self._usb_power = usb_power
        self._readings = [0] * _READINGS
        self._from_percent = -1
        self._from_ticks = ticks_ms()
        self.millivolts = 0
        self.charging = False

    def read(self) -> "tuple[int, int]":
        """(percent, minutes left); 65535 minutes on the charger. Raises OSError(EIO) for what no cell can be."""
        readings = self._readings
        for at in range(_READINGS):
            readings[at] = self._adc.read_u16()
        readings.sort()
        upper, lower = self._divider
        self.millivolts = readings[_READINGS // 2] * self._full_mv * (upper + lower) // (65535 * lower)
        if not _LEAST_MV <= self.millivolts <= _MOST_MV:
            raise OSError(_EIO)
        percent = _percent(self.millivolts)
        self.charging = self._usb_power is not None and bool(self._usb_power.value())
        if self.charging:
            self._from_percent = -1
            return percent, _NO_END
        return percent, self._minutes(percent)

    def _minutes(self, percent: int) -> int:
        now = ticks_ms()
        passed_ms = ticks_diff(now, self._from_ticks)
        if self._from_percent < percent or not 0 <= passed_ms < _PERIOD_MS:
            self._from_percent = percent
            self._from_ticks = now
            passed_ms = 0
        fallen = self._from_percent - percent
        if fallen < _FALLEN_PERCENT or passed_ms < _MINUTE_MS:
            return percent * self._nominal_minutes // 100
        minutes: int = percent * (passed_ms // _MINUTE_MS) // fallen
        return min(_NO_END - 1, minutes)


def _percent(millivolts: int) -> int:
    """Charge by the curve, straight between its points."""
    above = (millivolts - 3000) // 10
    if above >= _CURVE[0]:
        return 100
    for at in range(2, len(_CURVE), 2):
        low, low_percent = _CURVE[at], _CURVE[at + 1]
        if above >= low:
            high, high_percent = _CURVE[at - 2], _CURVE[at - 1]
            return low_percent + (above - low) * (high_percent - low_percent) // (high - low)
    return 0
