"""`machine.PWM`: duty and frequency at the pin, with what channels of the chip share."""

from .faults import Misuse
from .pin import Pin
from .wiring import wiring

_RP2_SLICES = 8
_ESP32_TIMERS = 4


class PWM:
    """One output."""

    def __init__(self, dest: Pin, *, freq: int = 0, duty_u16: int = 0) -> None:
        if not isinstance(dest.id, int):
            raise ValueError("this pin has no PWM")
        self._pin = dest.id
        self._line = wiring.line(self._pin)
        self._freq = 0
        self._duty = 0
        if freq:
            self.freq(freq)
        self.duty_u16(duty_u16)

    def freq(self, value: "int | None" = None) -> int:
        if value is None:
            return self._freq
        if value < 8 or value > 40_000_000:
            raise ValueError("freq out of range")
        self._freq = value
        self._show()
        return value

    def duty_u16(self, value: "int | None" = None) -> int:
        if value is None:
            return self._duty
        self._duty = max(0, min(65535, value))
        if value and not self._freq:
            raise Misuse("a duty before a frequency")
        self._show()
        return value

    def deinit(self) -> None:
        self._duty = 0
        self._line.duty = (0, 0)

    def _show(self) -> None:
        others = []
        for pin, line in wiring.lines.items():
            if pin != self._pin and line.duty[1] and line.duty[0] != self._freq and isinstance(pin, int):
                others.append((pin, line.duty[0]))
        if wiring.port == "rp2":
            for pin, _ in others:
                if (pin >> 1) % _RP2_SLICES == (self._pin >> 1) % _RP2_SLICES:
                    raise Misuse("GP%d and GP%d are one PWM slice and have one frequency" % (pin, self._pin))
        elif self._duty and len({freq for _, freq in others}) >= _ESP32_TIMERS:
            raise Misuse("out of PWM timers: only four frequencies at once")
        self._line.duty = (self._freq, self._duty)
