"""Visits in the ledger: entered, changed as a whole with their timers, and every change in the visit's log.

Rules that hold here
- Everything happens in the caller's transaction. What it changes is loaded in the same one.
- Every step is in the log with its time and who took it.
- One visit of a person runs at a time: the ledger itself refuses a second.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
import structlog

from lapel_gateway.ledger.direct import Direct
from lapel_gateway.ledger.schema import DEVICE_ACTIVE
from lapel_gateway.ledger.schema import device as devices
from lapel_gateway.ledger.visit_tables import visit as visits
from lapel_gateway.ledger.visit_tables import visit_log
from lapel_gateway.settings.visits import VisitsSection
from lapel_gateway.visits.course import Visit, from_row, set_timer, to_row
from lapel_protocol.names import VISIT_STATE_NAMES
from lapel_protocol.orders import SettingsChange

DEFAULT_HEARTBEAT_S = SettingsChange().heartbeat_s
"""Of a device whose settings nobody changed."""

_ROW = sa.select(visits).where(visits.c.id == sa.bindparam("of_id"))
_CHANGE = sa.update(visits).where(visits.c.id == sa.bindparam("of_id"))
_TIMERS = ("next_at_ms", "set_ms")
_TOUCH = Direct(
    sa.update(visits).where(visits.c.id == sa.bindparam("of_id")).values({name: sa.bindparam(name) for name in _TIMERS})
)
_FACTS = Direct(sa.select(devices.c.status, devices.c.settings).where(devices.c.device == sa.bindparam("of_device")))
_WORN = (
    sa.select(devices.c.device)
    .where(devices.c.person == sa.bindparam("of_person"), devices.c.state == DEVICE_ACTIVE)
    .order_by(devices.c.contact_ms.desc(), devices.c.provisioned_ms.desc())
    .limit(1)
)

_log = structlog.get_logger("lapel.visits")


class VisitError(Exception):
    """The request about a visit cannot be met; the message says why."""


class NotNow(VisitError):
    """The visit, or its person's other one, is not in a state for it."""


class NoSuchVisit(VisitError):
    """There is no visit of that number."""


def get_visit(connection: sa.Connection, number: int) -> Visit:
    """A visit by its number. Raises NoSuchVisit."""
    row = connection.execute(_ROW, {"of_id": number}).mappings().one_or_none()
    if row is None:
        raise NoSuchVisit(f"there is no visit {number}: `lapel visit list --all` shows them")
    return from_row(row)


def enter_visit(connection: sa.Connection, made: Visit, rules: VisitsSection, now_ms: int) -> int:
    """Enter a new visit and give it its number."""
    set_timer(made, now_ms, rules)
    result = connection.execute(sa.insert(visits).values(to_row(made)))
    (made.id,) = result.inserted_primary_key or (0,)
    return made.id


def save_visit(
    connection: sa.Connection,
    changed: Visit,
    rules: VisitsSection,
    now_ms: int,
    was: Mapping[str, Any] | None = None,
) -> None:
    """Write a visit with its timers; ``was`` is its row before: often nothing but the timers has changed."""
    set_timer(changed, now_ms, rules)
    values = to_row(changed)
    if was is not None and all(name in _TIMERS or value == was[name] for name, value in values.items()):
        _TOUCH.run(connection, {"of_id": changed.id, **{name: values[name] for name in _TIMERS}})
    else:
        connection.execute(_CHANGE, {"of_id": changed.id, **values})


def note_visit(connection: sa.Connection, visit: Visit, step: str, who: str, detail: str, now_ms: int) -> None:
    """Write one step into a visit's log, and a line for operators that says nothing of the person or the place."""
    values = {"visit": visit.id, "at_ms": now_ms, "step": step, "who": who, "detail": detail}
    connection.execute(sa.insert(visit_log).values(values))
    _log.info("visit", id=visit.id, step=step, state=VISIT_STATE_NAMES[visit.state])


def worn_by(connection: sa.Connection, person: str) -> str | None:
    """The device that somebody wears: the one heard of last, of several."""
    found: str | None = connection.execute(_WORN, {"of_person": person}).scalar() if person else None
    return found


def device_facts(connection: sa.Connection, device: str | None) -> dict[str, Any]:
    """What a device last said of itself, with the seconds between its heartbeats; {} for none."""
    if device is None:
        return {}
    for status, settings in _FACTS.all(connection, {"of_device": device}):
        heartbeat_s = json.loads(settings or "{}").get("heartbeat_s", DEFAULT_HEARTBEAT_S)
        return {**json.loads(status or "{}"), "heartbeat_s": heartbeat_s}
    return {}


def watch_device(connection: sa.Connection, visit: Visit, rules: VisitsSection) -> dict[str, Any]:
    """Set how long the visit's device may be silent; returns what it last said of itself."""
    facts = device_facts(connection, visit.device)
    visit.contact_wait_ms = rules.contact_wait_ms(facts["heartbeat_s"]) if facts else 0
    return facts
