"""Charge of a day: currents of data sheets times measured times. Arithmetic alone.

The reserve is the firmware's (lapel_device/battery_watch.py): below it only alarms are recorded, so a day has to end
above it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lapel_device.battery_watch import ALARMS_ONLY_MINUTES, ALARMS_ONLY_PERCENT
from lapel_tools.budget.currents import AIR_BITS_PER_S, AWAKE_S, current_of, radio_of
from lapel_tools.budget.day import Shift
from lapel_tools.budget.figures import CONNECT, RECONNECT, RECORDING, STANDBY, BoardFigures
from lapel_tools.budget.traffic import Traffic, pings_between

# The firmware's pattern "recording" (lapel_device/feedback.py): 120 ms of motor and buzzer every 30 s.
_REMINDER_SHARE = 0.12 / 30


@dataclass(frozen=True)
class Charge:
    """What one activity takes of the cell in a day, beside what being on takes all day."""

    activity: str
    mah: float


@dataclass(frozen=True)
class Energy:
    """`standby_ma`: on, connected, heartbeats; `recording_ma`: while recording and uploading. `reserve_mah` is kept for
    alarms. `shifts`: how many such days a full cell lasts above the reserve; `hours` the same in hours.
    """

    charges: tuple[Charge, ...]
    standby_ma: float
    recording_ma: float
    battery_mah: int
    reserve_mah: float
    hours: float
    standby_hours: float
    reserve_hours: float

    @property
    def mah(self) -> float:
        """Of the whole day."""
        return sum(charge.mah for charge in self.charges)


def energy(figures: BoardFigures, facts: dict[str, Any], shift: Shift, carried: Traffic) -> Energy:
    """A day's. `facts` are the board's `BOARD`, `carried` its traffic on that day."""
    chip, parts = facts["chip"], facts["parts"]
    radio = radio_of(chip)
    awake, sending = (current_of(radio, state) - current_of(radio, "dozing") for state in ("awake", "sending"))
    base_ma = _always_ma(figures, chip, radio, parts)
    exchanges = 1 + pings_between(shift.heartbeat_s)
    idle_ma = awake * AWAKE_S * exchanges / shift.heartbeat_s
    idle_ma += (sending - awake) * carried.idle_hour_up * 8 / AIR_BITS_PER_S / 3600
    recording_ma = _recording_ma(figures, chip, parts, awake, sending)
    handshakes = figures.activities[CONNECT].seconds
    handshakes += shift.reconnections * figures.activities[RECONNECT].busy_ms.get("handshake", 0.0) / 1000
    alarm_s = shift.alarm_tests * 60 * shift.alarm_minutes
    gnss_ma = current_of("GNSS", "on") if "GNSS" in parts else 0.0
    charges = (
        Charge("being on", base_ma * shift.hours),
        Charge("heartbeats and pings", idle_ma * shift.hours),
        Charge("connections", awake * handshakes / 3600),
        Charge("visits", gnss_ma * shift.visits * shift.visit_minutes / 60),
        Charge("alarm tests", (gnss_ma + current_of("vibration motor", "on") * 0.05) * alarm_s / 3600),
        Charge("recording", recording_ma * shift.recording_minutes / 60),
        Charge("rest of uploads", awake * (figures.media.behind_s if figures.media else 0.0) * shift.clips / 3600),
    )
    standby_ma = base_ma + idle_ma
    full_ma = standby_ma + recording_ma
    capacity = int(facts["battery_mah"])
    reserve = max(capacity * ALARMS_ONLY_PERCENT / 100, full_ma * ALARMS_ONLY_MINUTES / 60)
    average_ma = sum(charge.mah for charge in charges) / shift.hours
    return Energy(
        charges,
        standby_ma,
        full_ma,
        capacity,
        reserve,
        (capacity - reserve) / average_ma,
        (capacity - reserve) / standby_ma,
        reserve / standby_ma,
    )


def _always_ma(figures: BoardFigures, chip: str, radio: str, parts: tuple[str, ...]) -> float:
    """On, joined, nothing happens."""
    idle, busy = current_of(chip, "idle"), current_of(chip, "busy")
    drawn = idle + (busy - idle) * figures.activities[STANDBY].busy_share + current_of(radio, "dozing")
    drawn += current_of("WS2812", "dark")
    for part, state in (
        ("Arducam Mega", "asleep"),
        ("OV2640", "asleep"),
        ("microSD", "idle"),
        ("INMP441", "on"),
        ("LIS3DH", "on"),
        ("modem", "off"),
    ):
        if part in parts:
            drawn += current_of(part, state)
    return drawn


def _recording_ma(figures: BoardFigures, chip: str, parts: tuple[str, ...], awake: float, sending: float) -> float:
    """What recording, and uploading beside it, draw on top."""
    media = figures.media
    if media is None:
        return 0.0
    recording = figures.activities[RECORDING]
    drawn = (current_of(chip, "busy") - current_of(chip, "idle")) * min(1.0, recording.busy_share)
    sent_share = recording.up.total * 8 / AIR_BITS_PER_S / 60
    drawn += awake * max(0.0, 1 - sent_share) + sending * sent_share
    for camera in ("Arducam Mega", "OV2640"):
        if camera in parts:
            drawn += current_of(camera, "on") - current_of(camera, "asleep")
    written = recording.busy_ms.get("storage", 0.0) / 60_000
    drawn += (current_of("microSD", "writing") - current_of("microSD", "idle")) * min(1.0, written)
    drawn += current_of("WS2812", "one colour")
    return drawn + (current_of("vibration motor", "on") + current_of("buzzer", "on")) * _REMINDER_SHARE
