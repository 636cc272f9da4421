"""What each part draws, and who says so. None of it was measured on this hardware by us.

Values are at 3.3 V, as the data sheets give them. They are counted as drawn from the cell: a Pico's converter (85 to
90 % from 3.7 to 3.3 V, RT6150 data sheet, typical operating characteristics) loses about what the lower voltage saves,
a linear regulator passes the current on.
"""

from __future__ import annotations

from dataclasses import dataclass

TYPICAL = "typical"
PEAK = "peak"
MOST = "maximum"
WORKED_OUT = "worked out"
ASSUMED = "assumed"


@dataclass(frozen=True)
class Current:
    """`ma`: milliamperes of a part in a state. `basis`: how good that is; `source`: data sheet and section."""

    part: str
    state: str
    ma: float
    basis: str
    source: str


_RM2 = "Raspberry Pi RM2 data sheet (CYW43439, the radio of a Pico W), power consumption"
_RP2040 = "RP2040 data sheet 5.7.2, table 637, BOOTSEL idle"
_S3 = "ESP32-S3 data sheet 5.6.2, table 5-9, 240 MHz, peripheral clocks on"
_S3_RADIO = "ESP32-S3 data sheet 5.6.1, table 5-7, less 32.9 mA of the idle processor (table 5-9)"
_UNKNOWN = "no published value known to us: measure yours"

CURRENTS = (
    Current("rp2040", "idle", 24.6, WORKED_OUT, f"{_RP2040}, 9.0 mA at 48 MHz scaled to 125 MHz, and 1.2 mA of I/O"),
    Current("rp2040", "busy", 24.6, WORKED_OUT, "the same: the data sheet tells no difference at 125 MHz"),
    Current("rp2350", "idle", 15.5, TYPICAL, "RP2350 data sheet 14.9.7.3, table 1446, hello_serial, 51.1 mW"),
    Current("rp2350", "busy", 15.5, TYPICAL, "the same: one core at 150 MHz is within it (CoreMark, 38.7 mW)"),
    Current("esp32s3", "idle", 47.6, TYPICAL, f"{_S3}, both cores waiting"),
    Current("esp32s3", "busy", 65.9, TYPICAL, f"{_S3}, one core at work"),
    Current("CYW43439", "dozing", 1.19, TYPICAL, f"{_RM2}, PM1, DTIM1"),
    Current("CYW43439", "awake", 43.0, TYPICAL, f"{_RM2}, receiving"),
    Current("CYW43439", "sending", 271.0, TYPICAL, f"{_RM2}, sending at 16 dBm"),
    Current("ESP32-S3 radio", "dozing", 1.6, ASSUMED, "awake for 3 ms of each beacon's 102.4 ms"),
    Current("ESP32-S3 radio", "awake", 55.1, PEAK, f"{_S3_RADIO}, receiving, HT20"),
    Current("ESP32-S3 radio", "sending", 250.1, PEAK, f"{_S3_RADIO}, 802.11n HT20 MCS7 at 18.5 dBm"),
    Current("Arducam Mega", "asleep", 20.0, ASSUMED, _UNKNOWN),
    Current("Arducam Mega", "on", 150.0, ASSUMED, _UNKNOWN),
    Current("OV2640", "asleep", 0.6, TYPICAL, "OV2640 data sheet, key specifications, standby"),
    Current("OV2640", "on", 42.4, TYPICAL, "OV2640 data sheet, key specifications, 140 mW compressing at 15 fps"),
    Current("microSD", "idle", 0.5, ASSUMED, _UNKNOWN),
    Current("microSD", "writing", 100.0, MOST, "SD Physical Layer Simplified Specification, default speed"),
    Current("INMP441", "on", 1.4, TYPICAL, "INMP441 data sheet, features; counted all day: its supply stays"),
    Current("WS2812", "dark", 1.0, ASSUMED, _UNKNOWN),
    Current("WS2812", "one colour", 12.0, TYPICAL, "WS2812B data sheet, LED characteristics, full brightness"),
    Current("vibration motor", "on", 80.0, ASSUMED, "a coin motor of 10 mm at 3 V"),
    Current("buzzer", "on", 10.0, ASSUMED, _UNKNOWN),
    Current("LIS3DH", "on", 0.011, TYPICAL, "LIS3DH data sheet 2.2, table 4, normal mode, 50 Hz"),
    Current("GNSS", "on", 7.6, TYPICAL, "u-blox MAX-M10S product summary, 25 mW; another receiver draws up to 30 mA"),
    Current("modem", "off", 0.0, ASSUMED, "without power while Wi-Fi is there; a day on cellular is not budgeted"),
)  # fmt: skip

_TABLE = {(current.part, current.state): current.ma for current in CURRENTS}
_RADIOS = {"rp2040": "CYW43439", "rp2350": "CYW43439", "esp32s3": "ESP32-S3 radio"}

AWAKE_S = 0.2
"""How long a radio stays awake after something passed: 200 ms is the CYW43439's as MicroPython sets it."""

AIR_BITS_PER_S = 20_000_000
"""Assumed: what a 65 Mbit/s link carries beside its own overhead. A poor link sends longer, at a lower rate."""


def current_of(part: str, state: str) -> float:
    """Milliamperes. Raises KeyError for a part or state that the table has not."""
    return _TABLE[part, state]


def radio_of(chip: str) -> str:
    """The radio on a board with this chip."""
    return _RADIOS[chip]
