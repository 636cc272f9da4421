"""The open alarms, each whole: who, where, since when, who was told, what is being received, what to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from lapel_gateway.alarms.book import NOTE
from lapel_gateway.alarms.escalations import key_range, step_stem
from lapel_gateway.alarms.kinds import TECHNICAL_KINDS
from lapel_gateway.alarms.policies import Plan
from lapel_gateway.describe import Row, alarm_words, escalation_words, moment
from lapel_gateway.describe_visits import position_words
from lapel_gateway.ledger.direct import Direct
from lapel_gateway.ledger.schema import alarm, alarm_log, escalation, outbox, person
from lapel_gateway.ledger.visit_tables import position, visit
from lapel_gateway.overview.advice import next_thing
from lapel_gateway.overview.clips import clip_progress
from lapel_protocol import alarm as protocol_alarm
from lapel_protocol.names import ALARM_STATE_NAMES

MAX_ALARMS = 200
"""Told at once; more are counted. Nobody reads them, and every reader is sent them."""

MAX_TRAIL = 24
"""Earlier positions told of an alarm: an hour or two of a device's."""

MAX_NOTES = 5
"""Notes told of an alarm, the newest; its log has all."""

OPEN = tuple(
    name for state, name in enumerate(ALARM_STATE_NAMES) if name and state != protocol_alarm.RESOLVED
)  # every state in which somebody may still have something to do

_OPEN = (
    sa.select(alarm, escalation.c.policy, escalation.c.plan, escalation.c.taken, escalation.c.next_at_ms)
    .join(escalation, escalation.c.alarm_id == alarm.c.id, isouter=True)
    .where(alarm.c.state.in_(OPEN))
    .order_by(
        alarm.c.acknowledged_ms.is_not(None),
        alarm.c.kind.in_(sorted(TECHNICAL_KINDS)),
        alarm.c.test,
        alarm.c.received_ms.desc(),
        alarm.c.id,
    )
    .limit(MAX_ALARMS)
)
_COUNT = sa.select(sa.func.count()).where(alarm.c.state.in_(OPEN))
_TOLD = Direct(
    sa.select(
        outbox.c.channel,
        outbox.c.state,
        outbox.c.attempts,
        outbox.c.created_ms,
        outbox.c.done_ms,
        outbox.c.withdrawn_ms,
        outbox.c.last_error,
    )
    .where(
        outbox.c.key >= sa.bindparam("from_key"),
        outbox.c.key < sa.bindparam("to_key"),
        outbox.c.channel != sa.bindparam("nobody"),
    )
    .order_by(outbox.c.id)
)
_POSITION_COLUMNS = ("measured_ms", "received_ms", "latitude_e7", "longitude_e7", "accuracy_m")
_COLUMNS = [position.c[name] for name in _POSITION_COLUMNS]
_OF_ALARM = Direct(
    sa.select(*_COLUMNS)
    .where(position.c.alarm_id == sa.bindparam("of_id"))
    .order_by(position.c.id.desc())
    .limit(sa.bindparam("most"))
)
_OF_VISIT = Direct(
    sa.select(*_COLUMNS)
    .where(position.c.visit == sa.bindparam("of_id"))
    .order_by(position.c.id.desc())
    .limit(sa.bindparam("most"))
)
_NOTES = Direct(
    sa.select(alarm_log.c.at_ms, alarm_log.c.who, alarm_log.c.detail)
    .where(alarm_log.c.alarm_id == sa.bindparam("of_id"), alarm_log.c.step == sa.bindparam("step"))
    .order_by(alarm_log.c.id.desc())
    .limit(sa.bindparam("most"))
)
_PLACE = Direct(sa.select(visit.c.place).where(visit.c.id == sa.bindparam("of_id")))
_PHONE = Direct(sa.select(person.c.phone).where(person.c.name == sa.bindparam("of_name")))


def read_alarms(connection: sa.Connection, people: Mapping[str, str]) -> tuple[dict[str, Any], int]:
    """({id: words} of the open alarms, those first that nobody has answered; how many more there are).

    ``people`` says whom each channel reaches.
    """
    rows = connection.execute(_OPEN).mappings().all()
    more = 0
    if len(rows) == MAX_ALARMS:
        more = connection.execute(_COUNT).scalar_one() - MAX_ALARMS
    return {row["id"]: _words(connection, row, people) for row in rows}, more


def phone_of(connection: sa.Connection, name: str) -> str:
    """Somebody's telephone number, "" = not known."""
    return next((str(phone) for (phone,) in _PHONE.all(connection, {"of_name": name})), "") if name else ""


def position_of_visit(connection: sa.Connection, number: int) -> dict[str, Any] | None:
    """The newest position within a visit."""
    found = _positions(_OF_VISIT, connection, number, 1)
    return found[0] if found else None


def _words(connection: sa.Connection, row: Row, people: Mapping[str, str]) -> dict[str, Any]:
    words = alarm_words(row)
    phone = phone_of(connection, row["person"])
    return {
        **words,
        "phone": phone or None,
        "battery_percent": row["battery_percent"],
        "where": _where(connection, row),
        "escalation": None if row["taken"] is None else {**escalation_words(row), "stage": _stage(row)},
        "told": _told(connection, row["id"], people),
        "todo": next_thing(words, phone),
        "notes": _notes(connection, row["id"]),
        "clip": clip_progress(connection, row["device"], row["clip"]) if row["device"] and row["clip"] else None,
    }


def _stage(row: Row) -> str | None:
    """The last step taken, as `Plan.stage` calls it."""
    try:
        return Plan.from_json(row["plan"]).stage(row["taken"] - 1).words if row["taken"] else None
    except ValueError:
        return None


def _told(connection: sa.Connection, identifier: str, people: Mapping[str, str]) -> list[dict[str, Any]]:
    """Every channel that an escalation step named, with how its newest parcel fared."""
    newest: dict[str, dict[str, Any]] = {}
    for channel, state, attempts, made_ms, done_ms, withdrawn_ms, error in _TOLD.all(
        connection, {**key_range(step_stem(identifier)), "nobody": ""}
    ):
        newest[channel] = {
            "channel": channel,
            "person": people.get(channel) or None,
            "state": "withdrawn" if withdrawn_ms is not None else state,
            "asked": moment(made_ms),
            "done": moment(done_ms),
            "attempts": attempts,
            "error": error or None,
        }
    return list(newest.values())


def _where(connection: sa.Connection, row: Row) -> dict[str, Any]:
    found = _positions(_OF_ALARM, connection, row["id"], MAX_TRAIL + 1)
    place = None
    if row["visit"] is not None:
        found = found or _positions(_OF_VISIT, connection, row["visit"], MAX_TRAIL + 1)
        place = next((text for (text,) in _PLACE.all(connection, {"of_id": row["visit"]})), None)
    return {"place": place, "position": found[0] if found else None, "trail": found[1:]}


def _positions(query: Direct, connection: sa.Connection, of: str | int, most: int) -> list[dict[str, Any]]:
    """The newest positions of an alarm or a visit, the newest first."""
    rows = query.all(connection, {"of_id": of, "most": most})
    return [position_words(dict(zip(_POSITION_COLUMNS, row, strict=True))) for row in rows]


def _notes(connection: sa.Connection, identifier: str) -> list[dict[str, Any]]:
    """What people wrote about an alarm, the newest last."""
    rows = _NOTES.all(connection, {"of_id": identifier, "step": NOTE, "most": MAX_NOTES})
    return [{"at": moment(at_ms), "who": who, "note": detail} for at_ms, who, detail in reversed(rows)]
