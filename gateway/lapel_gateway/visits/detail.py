"""A visit in words for whoever has to act: who, where, why, since when, whom to call, and what was last known.

One line of printable text: it goes into alarms and notices, which end up in mail, SMS and a control room's screen. What
is needed first stands first, because some of these cut it.
"""

from __future__ import annotations

import re
from typing import Any

import sqlalchemy as sa

from lapel_gateway.describe import utc
from lapel_gateway.ledger.visit_tables import position
from lapel_gateway.log import printable
from lapel_gateway.people import find_person
from lapel_gateway.settings.visits import MINUTE_MS
from lapel_gateway.visits.book import device_facts
from lapel_gateway.visits.course import Visit
from lapel_gateway.visits.risk_register import find_risks

AMBER = "visit_amber"
"""The notice to wearer and buddy, by its kind."""

POSITION = "last position "
"""Begins a part of a detail that can be taken out again when positions are disposed of."""

MAX_CHARACTERS = 1_500
MAX_RISKS = 3
"""Entries of the register that are told in full; the others are in the visit's own page."""

MAX_FREE_CHARACTERS = 160
"""Of each text that somebody wrote freely, but for the place."""

_POSITION = re.compile(rf"; {POSITION}[^;]*")


def visit_detail(connection: sa.Connection, visit: Visit, what: str, now_ms: int, *, where: bool) -> str:
    """``what`` has happened, and everything that a responder needs of the visit; with ``where`` its last position."""
    risks = find_risks(connection, visit.place, visit.present, now_ms)
    facts = device_facts(connection, visit.device)
    parts = [
        what,
        f"{_reachable(connection, visit.person)}{f' of team {visit.team}' if visit.team else ''}",
        f"at {visit.place}",
        last_position(connection, visit.id) if where else "",
        f"last sign of life {_when(visit.contact_ms)}",
        _device(visit, facts),
        f"buddy {_reachable(connection, visit.buddy)}" if visit.buddy else "no buddy",
        f"began {_when(visit.started_ms)} for {visit.expected_ms // MINUTE_MS} min, due {_when(visit.due_ms)}",
        _said("check-in expected", _when(visit.next_check_in_ms)) if visit.next_check_in_ms else "",
        _said("risk", visit.risk),
        *(_said("risk register", f"{risk.about or risk.place}: {risk.note}") for risk in risks[:MAX_RISKS]),
        f"{len(risks) - MAX_RISKS} more in the risk register" if len(risks) > MAX_RISKS else "",
        _said("purpose", visit.purpose),
        _said("present", visit.present),
    ]
    return printable("; ".join(part for part in parts if part), MAX_CHARACTERS)


def last_position(connection: sa.Connection, number: int) -> str:
    """The newest position within a visit, in words; "" for none."""
    newest = sa.select(position).where(position.c.visit == number).order_by(position.c.measured_ms.desc()).limit(1)
    row = connection.execute(newest).one_or_none()
    if row is None:
        return ""
    within = "" if row.accuracy_m is None else f" within {row.accuracy_m} m"
    return f"{POSITION}{row.latitude_e7 / 1e7:.6f}, {row.longitude_e7 / 1e7:.6f}{within} at {_when(row.measured_ms)}"


def without_position(detail: str) -> str:
    """A detail without its position."""
    return _POSITION.sub("", detail)


def _reachable(connection: sa.Connection, name: str) -> str:
    phone = find_person(connection, name).phone
    return f"{name} (phone {phone})" if phone else name


def _device(visit: Visit, facts: dict[str, Any]) -> str:
    if visit.device is None:
        return "no device"
    battery = facts.get("battery_percent")
    charge = "" if battery is None else f", battery {battery} %"
    return f"device {visit.device}, last heard of {_when(visit.beat_ms)}{charge}"


def _said(name: str, text: str) -> str:
    return f"{name}: {printable(text, MAX_FREE_CHARACTERS)}" if text else ""


def _when(time_ms: int | None) -> str:
    """To the minute, UTC."""
    text = utc(time_ms)
    return f"{text[:10]} {text[11:16]} UTC" if text else "never"
