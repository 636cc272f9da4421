"""Positions: kept within a visit or an alarm that the gateway itself knows to be open, and nowhere else.

Rules that hold here
- What a device claims is not enough: the visit or alarm that it names has to be open here, and its own.
- Of any other location nothing is kept: no event, no record, no line in a log, no notice; only that there was one.
- A location is taken once, by (device, boot, counter). One from before the visit or alarm is not taken within it.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from lapel_gateway.ledger.direct import Direct
from lapel_gateway.ledger.schema import alarm
from lapel_gateway.ledger.visit_tables import position, visit
from lapel_gateway.ledger.visits import RUNNING
from lapel_gateway.settings.visits import MINUTE_MS
from lapel_gateway.verify import Trust
from lapel_protocol.clip import TRUST_GATEWAY, TRUST_NTP
from lapel_protocol.event import Event
from lapel_protocol.reports import ACCURACY_UNKNOWN, Location

REFUSED = "location_refused"
"""How a location outside a visit or alarm is counted."""

SLACK_MS = MINUTE_MS
"""How far a device's clock may be behind when a visit begins."""

_VISIT = Direct(
    sa.select(visit.c.id, visit.c.started_ms).where(
        visit.c.id == sa.bindparam("of_visit"), visit.c.device == sa.bindparam("of_device"), RUNNING
    )
)
_ALARM = Direct(
    sa.select(alarm.c.id, alarm.c.received_ms, alarm.c.raised_wall_ms).where(
        alarm.c.device == sa.bindparam("of_device"),
        alarm.c.boot == sa.bindparam("of_boot"),
        alarm.c.counter == sa.bindparam("of_counter"),
        alarm.c.resolved_ms.is_(None),
    )
)
_KEEP = Direct(
    insert(position).on_conflict_do_nothing(),
    (
        *("device", "boot", "counter", "visit", "alarm_id", "measured_ms", "received_ms"),
        *("latitude_e7", "longitude_e7", "accuracy_m"),
    ),
)


def keep_position(connection: sa.Connection, trust: Trust, found: Event, said: Location, now_ms: int) -> bool:
    """Keep a verified location if it belongs to something open; returns whether it does."""
    dated = found.trust in (TRUST_NTP, TRUST_GATEWAY)
    sent_ms = min(found.wall_ms, now_ms) if dated else now_ms
    of_visit = alarm_id = None
    for number, started_ms in _VISIT.all(connection, {"of_visit": said.visit, "of_device": trust.name}):
        if sent_ms >= started_ms - SLACK_MS:
            of_visit = number
    of_alarm = {"of_device": trust.name, "of_boot": said.alarm_boot, "of_counter": said.alarm_counter}
    for identifier, received_ms, raised_ms in _ALARM.all(connection, of_alarm):
        if sent_ms >= min(received_ms, raised_ms) - SLACK_MS:
            alarm_id = identifier
    if of_visit is None and alarm_id is None:
        return False
    values = {
        "device": trust.name,
        "boot": found.boot,
        "counter": found.counter,
        "visit": of_visit,
        "alarm_id": alarm_id,
        "measured_ms": max(0, sent_ms - said.age_s * 1000),
        "received_ms": now_ms,
        "latitude_e7": said.latitude,
        "longitude_e7": said.longitude,
        "accuracy_m": None if said.accuracy_m == ACCURACY_UNKNOWN else said.accuracy_m,
    }
    _KEEP.run(connection, values)
    return True
