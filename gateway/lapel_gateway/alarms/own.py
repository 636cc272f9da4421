"""Alarms that the gateway raises itself: about a person on a visit, or about what it needs to bring help.

Rules that hold here
- For one kind and one thing that it is about there is one open alarm: what goes on being wrong raises no second one
  until a human has resolved the first.
- It is entered in the caller's transaction, with the change that caused it.
- From there it lives as every alarm: it escalates until a human answers.
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa
import structlog

from lapel_gateway.alarms import escalations
from lapel_gateway.alarms.book import note_step
from lapel_gateway.alarms.kinds import kind_name
from lapel_gateway.ledger.schema import DEVICE_ACTIVE, alarm
from lapel_protocol import alarm as protocol_alarm
from lapel_protocol.names import ALARM_STATE_NAMES, TRUST_NAMES

GATEWAY_NAME = "gateway"
"""Who took a step, where the gateway did."""

_GATEWAY_TIME = TRUST_NAMES.index("gateway")

_log = structlog.get_logger("lapel.alarms")


@dataclass(frozen=True)
class Concern:
    """Whom an alarm is about; "" and None where it is about nobody."""

    person: str = ""
    team: str = ""
    device: str | None = None
    visit: int | None = None
    battery_percent: int | None = None
    test: bool = False


NOBODY = Concern()


def raise_own(
    connection: sa.Connection, kind: int, about: str, detail: str, now_ms: int, concern: Concern = NOBODY
) -> str | None:
    """Raise an alarm of this kind (`kinds`) about something; returns its id, None while one of it is open.

    ``about`` names the thing for ever in one way (a channel, "visit 12"); ``detail`` tells people what is wrong and
    what to do.
    """
    mine = (alarm.c.kind == kind, alarm.c.about == about, alarm.c.resolved_ms.is_(None))
    if connection.execute(sa.select(alarm.c.id).where(*mine)).first() is not None:
        return None
    identifier = _new_id(connection, now_ms)
    values = {
        "id": identifier,
        "device": concern.device,
        "kind": kind,
        "about": about,
        "detail": detail,
        "test": concern.test,
        "state": ALARM_STATE_NAMES[protocol_alarm.RECEIVED],
        "person": concern.person,
        "team": concern.team,
        "visit": concern.visit,
        "device_state": DEVICE_ACTIVE,
        "raised_wall_ms": now_ms,
        "raised_mono_ms": 0,
        "trust": _GATEWAY_TIME,
        "battery_percent": concern.battery_percent,
        "received_ms": now_ms,
        "untold": False,
    }
    connection.execute(sa.insert(alarm).values(values))
    note_step(connection, identifier, "received", GATEWAY_NAME, kind_name(kind), now_ms)
    escalations.begin(connection, identifier, now_ms)
    # The words about somebody's visit stay in the ledger, which forgets them in time.
    told = detail if concern.visit is None else ""
    _log.warning("alarm", alarm=identifier, kind=kind_name(kind), about=about, detail=told, person=concern.person)
    return identifier


def note_again(connection: sa.Connection, kind: int, about: str, detail: str, now_ms: int) -> None:
    """Write into the open alarm of this kind and thing, if there is one, how it goes on."""
    mine = (alarm.c.kind == kind, alarm.c.about == about, alarm.c.resolved_ms.is_(None))
    for (identifier,) in connection.execute(sa.select(alarm.c.id).where(*mine)).all():
        note_step(connection, identifier, "noted", GATEWAY_NAME, detail, now_ms)


def _new_id(connection: sa.Connection, now_ms: int) -> str:
    """``gateway-<time>-<number>``: several may come in one millisecond."""
    stem = f"gateway-{now_ms}-"
    taken = sa.select(sa.func.count()).select_from(alarm).where(alarm.c.id >= stem, alarm.c.id < f"{stem}:")
    return f"{stem}{connection.execute(taken).scalar_one()}"
