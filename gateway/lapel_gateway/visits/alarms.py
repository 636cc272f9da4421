"""The alarms of a visit: raised anew when people have let go of the last one, and told what is said meanwhile.

While nobody has acknowledged the open one, what goes on being wrong is noted there: it escalates already. Once somebody
has, nobody is being told any more; what goes wrong again is then an alarm of its own.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from lapel_gateway.alarms.book import note_step
from lapel_gateway.alarms.own import GATEWAY_NAME, Concern, raise_own
from lapel_gateway.describe import utc
from lapel_gateway.ledger.schema import alarm
from lapel_gateway.visits.course import Visit
from lapel_gateway.visits.detail import visit_detail

_OPEN = sa.select(alarm.c.id, alarm.c.kind, alarm.c.acknowledged_ms).where(
    alarm.c.visit == sa.bindparam("of_visit"), alarm.c.boot.is_(None), alarm.c.resolved_ms.is_(None)
)


def raise_of_visit(
    connection: sa.Connection, visit: Visit, kind: int, what: str, facts: dict[str, Any], now_ms: int
) -> None:
    """Raise an alarm of this kind about a visit, or note it in the one that is still being told of."""
    detail = visit_detail(connection, visit, what, now_ms, where=True)
    rows = [row for row in connection.execute(_OPEN, {"of_visit": visit.id}) if row.kind == kind]
    told = [row.id for row in rows if row.acknowledged_ms is None]
    for identifier in told:
        note_step(connection, identifier, "noted", GATEWAY_NAME, what, now_ms)
    if not told:
        about = f"{visit.name}, again at {utc(now_ms)}" if rows else visit.name
        concern = Concern(visit.person, visit.team, visit.device, visit.id, facts.get("battery_percent"))
        raise_own(connection, kind, about, detail, now_ms, concern)


def note_in_alarms(connection: sa.Connection, visit: Visit, words: str, now_ms: int) -> None:
    """Note in the visit's open alarms what was said meanwhile: it changes nothing of them, but people read it."""
    for row in connection.execute(_OPEN, {"of_visit": visit.id}).all():
        note_step(connection, row.id, "noted", GATEWAY_NAME, words, now_ms)
