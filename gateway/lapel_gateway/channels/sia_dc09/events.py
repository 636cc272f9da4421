"""Which event an alarm is for a receiving centre: a map of kinds to codes, with defaults that fit any centre.

Rules that hold here
- A kind that is not in the map is told all the same, as an alarm of no particular type.
- The cancel of a duress alarm is told to nobody: whoever forces its wearer forces the cancel as well.
- A drill is told as a test, whatever kind of alarm it plays.

Codes are those of ANSI/SIA DC-03 for SIA-DCS (two letters) and of ANSI/SIA DC-05 for ADM-CID, the latter with the
qualifier in front (1 new event, 3 restore, 6 status). Zones and areas are sent as the decimal digits of the settings,
so that the centre's screen shows what the agreement with it says.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from lapel_gateway.channels.sia_dc09.frame import ADM_CID, SIA_DCS, time_text

TIME = "time"
LOCATION = "location"

MAX_ZONE = {SIA_DCS: 9999, ADM_CID: 999}
MAX_AREA = 99

CODE_FORM = {
    SIA_DCS: (re.compile(r"[A-Z]{2}"), "two capital letters, as PA"),
    ADM_CID: (re.compile(r"[136][0-9B-F]{3}"), "a qualifier (1, 3 or 6) and three digits, as 1120"),
}

_MINUTE = 1000
"""Positions are written in thousandths of a minute of arc: not quite two metres."""


@dataclass(frozen=True)
class EventCodes:
    """What a centre is told of one kind of alarm; "" is nothing."""

    raised: str
    restore: str
    cancel: str
    zone: int
    area: int = 1


DEFAULT_CODES: Mapping[str, Mapping[str, EventCodes]] = {
    SIA_DCS: {
        "panic": EventCodes("PA", "PR", "OC", 1),
        "duress": EventCodes("HA", "HR", "", 2),
        "man_down": EventCodes("MA", "MR", "OC", 3),
        "visit_overdue": EventCodes("QA", "QR", "OC", 4),
        "contact_lost": EventCodes("UA", "UR", "OC", 5),
        "low_battery": EventCodes("XT", "XR", "", 6),
        "tamper": EventCodes("TA", "TR", "", 7),
        "test": EventCodes("RX", "", "", 8),
        "visit_low_battery": EventCodes("XT", "XR", "", 15),
        "delivery_failed": EventCodes("YC", "YK", "", 9),
        "clip_missing": EventCodes("YF", "", "", 12),
        "disk_low": EventCodes("YT", "YR", "", 13),
        "centre_silent": EventCodes("YS", "YK", "", 14),
        "unknown": EventCodes("PA", "PR", "OC", 10),
        "other": EventCodes("UA", "UR", "", 11),
    },
    ADM_CID: {
        "panic": EventCodes("1120", "3120", "1406", 1),
        "duress": EventCodes("1121", "3121", "", 2),
        "man_down": EventCodes("1100", "3100", "1406", 3),
        "visit_overdue": EventCodes("1101", "3101", "1406", 4),
        "contact_lost": EventCodes("1150", "3150", "1406", 5),
        "low_battery": EventCodes("1384", "3384", "", 6),
        "tamper": EventCodes("1144", "3144", "", 7),
        "test": EventCodes("1601", "", "", 8),
        "visit_low_battery": EventCodes("1384", "3384", "", 15),
        "delivery_failed": EventCodes("1354", "3354", "", 9),
        "clip_missing": EventCodes("1300", "3300", "", 12),
        "disk_low": EventCodes("1300", "3300", "", 13),
        "centre_silent": EventCodes("1350", "3350", "", 14),
        "unknown": EventCodes("1120", "3120", "1406", 10),
        "other": EventCodes("1150", "3150", "", 11),
    },
}
"""By token and kind of alarm: ``unknown`` is an alarm whose device could not say its kind any more, and whose wearer
waits; ``other`` is every kind that has no codes of its own."""

KINDS = tuple(DEFAULT_CODES[SIA_DCS])


@dataclass(frozen=True)
class Event:
    """One event for a centre."""

    code: str
    zone: int
    area: int
    extended: tuple[bytes, ...] = ()

    def data(self, token: str, account: str) -> bytes:
        """What stands between the brackets of a frame with this token (DC-09 section 5.5.1.7)."""
        if token == ADM_CID:
            return f"#{account}|{self.code} {self.area:02d} {self.zone:03d}".encode()
        area = f"ri{self.area}/" if self.area else ""
        return f"#{account}|N{area}{self.code}{self.zone:03d}".encode()


def event_of(
    payload: Mapping[str, Any],
    codes: Mapping[str, EventCodes],
    zones: Mapping[str, int],
    extended: Collection[str],
) -> Event | None:
    """The event for what happened to an alarm (`alarms.book.tell`), None when the centre is told nothing of it.

    ``zones`` gives devices zones of their own. ``extended`` says which extended data the centre takes: ``time`` when it
    happened, ``location`` where, if the payload says it (``location``: ``latitude`` and ``longitude`` in degrees).
    """
    kind = "test" if payload.get("test") else str(payload.get("kind", ""))
    entry = codes[kind] if kind in codes else codes["other"]
    what = payload.get("what")
    codes_by_step = {
        "raised": entry.raised,
        "unanswered": entry.raised,
        "cancelled": entry.cancel,
        "resolved": entry.restore,
    }
    code = codes_by_step.get(str(what), "")
    if not code:
        return None
    parts: list[bytes] = []
    if TIME in extended:
        parts += _time(payload, str(what))
    if LOCATION in extended:
        parts += _location(payload.get("location"))
    return Event(code, zones.get(str(payload.get("device", "")), entry.zone), entry.area, tuple(parts))


def _time(payload: Mapping[str, Any], what: str) -> list[bytes]:
    """When it happened, by the device's clock where that was set."""
    at_ms = payload.get(f"{what}_wall_ms") or payload.get(f"{what}_ms")
    if what in ("raised", "unanswered"):
        at_ms = at_ms or payload.get("raised_wall_ms") or payload.get("received_ms")
    return [f"H{time_text(at_ms // 1000)}".encode()] if isinstance(at_ms, int) and 0 < at_ms < 1 << 42 else []


def _location(place: object) -> list[bytes]:
    """Longitude and latitude (DC-09 section 5.5.1.8): degrees, hemisphere, minutes."""
    if not isinstance(place, dict):
        return []
    latitude, longitude = place.get("latitude"), place.get("longitude")
    if not isinstance(latitude, int | float) or not isinstance(longitude, int | float):
        return []
    if not (-90 <= latitude <= 90 and -180 <= longitude <= 180):
        return []
    east, north = ("W" if longitude < 0 else "E"), ("S" if latitude < 0 else "N")
    return [
        b"X" + _angle(abs(longitude), 3, east).encode(),
        b"Y" + _angle(abs(latitude), 2, north).encode(),
    ]


def _angle(degrees: float, digits: int, hemisphere: str) -> str:
    thousandths = round(degrees * 60 * _MINUTE)
    whole, rest = divmod(thousandths, 60 * _MINUTE)
    return f"{whole:0{digits}d}{hemisphere}{rest // _MINUTE:02d}.{rest % _MINUTE:03d}"
