"""`machine.ADC`: what `wiring.analogue_mv` says of the pin, with the converter's range and its pins."""

from .faults import Misuse
from .pin import number_of
from .wiring import wiring

_RP2_PINS = (26, 27, 28, 29)
_ESP32S3_ADC1 = tuple(range(1, 11))
_ESP32S3_ADC2 = tuple(range(11, 21))
_FULL_MV = 3300
_FULL_ESP32_MV = 3100  # with the largest attenuation
_FULL_ESP32_0DB_MV = 950


class ADC:
    """One channel."""

    ATTN_0DB = 0
    ATTN_11DB = 3

    def __init__(self, pin: object, *, atten: int = 0) -> None:
        self._pin = number_of(pin)
        self._full_mv = _FULL_MV
        if wiring.port == "rp2":
            if self._pin not in _RP2_PINS:
                raise ValueError("Pin doesn't have ADC capabilities")
            return
        if self._pin in _ESP32S3_ADC2:
            raise Misuse("ADC2 does not work while Wi-Fi is on")
        if self._pin not in _ESP32S3_ADC1:
            raise ValueError("invalid Pin for ADC")
        self._full_mv = _FULL_ESP32_MV if atten == self.ATTN_11DB else _FULL_ESP32_0DB_MV

    def read_u16(self) -> int:
        if self._pin not in wiring.analogue_mv:
            return 0
        millivolts = wiring.analogue_mv[self._pin]()
        if millivolts > 3600:
            raise Misuse("%d mV at a pin of a 3.3 V chip" % millivolts)
        return max(0, min(65535, millivolts * 65535 // self._full_mv))

    def read_uv(self) -> int:
        if wiring.port == "rp2":
            raise AttributeError("'ADC' object has no attribute 'read_uv'")
        return self.read_u16() * self._full_mv * 1000 // 65535
