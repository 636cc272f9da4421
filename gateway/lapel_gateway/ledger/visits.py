"""What batches, alarms and polls ask about visits: each of it by an index, whatever the number of visits kept."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa

from lapel_gateway.ledger.direct import Direct
from lapel_gateway.ledger.visit_tables import visit

RUNNING = sa.text("visit.state IN ('active', 'amber', 'overdue')")
"""In the words of the index that allows one of them to a person."""

_OF_PERSON = Direct(sa.select(visit.c.id).where(visit.c.person == sa.bindparam("of_person"), RUNNING))
_OF_DEVICES = (
    sa.select(visit)
    .where(visit.c.device.in_(sa.bindparam("names", expanding=True)), RUNNING)
    .order_by(visit.c.device, visit.c.id)
)
_TOLD = (
    sa.select(visit)
    .where(
        visit.c.device.in_(sa.bindparam("names", expanding=True)),
        sa.or_(
            RUNNING,
            sa.and_(visit.c.state == "planned", visit.c.planned_ms < sa.bindparam("until_ms")),
        ),
    )
    .order_by(visit.c.device, visit.c.id)
)
_WITH_VISITS = sa.select(visit.c.device).where(visit.c.device.in_(sa.bindparam("names", expanding=True))).distinct()
_WAITING = Direct(
    sa.select(visit.c.id)
    .where(
        sa.or_(
            visit.c.next_at_ms <= sa.bindparam("now_ms"),
            visit.c.set_ms > sa.bindparam("ahead_ms"),
            visit.c.untold == sa.true(),
        )
    )
    .limit(1)
)
_DUE = (
    sa.select(visit)
    .where(visit.c.next_at_ms <= sa.bindparam("now_ms"))
    .order_by(visit.c.next_at_ms)
    .limit(sa.bindparam("most"))
)
_AHEAD = (
    sa.select(visit)
    .where(visit.c.set_ms > sa.bindparam("ahead_ms"))
    .order_by(visit.c.set_ms)
    .limit(sa.bindparam("most"))
)
_UNTOLD = sa.select(visit.c.id, visit.c.device).where(visit.c.untold == sa.true())
_NEWEST = sa.select(sa.func.max(visit.c.id)).where(visit.c.device == sa.bindparam("of_device")).scalar_subquery()
_AGAIN = Direct(sa.update(visit).where(visit.c.id == _NEWEST).values(untold=True))
_BEAT = Direct(
    sa.update(visit)
    .where(visit.c.id == sa.bindparam("of_id"))
    .values(
        beat_ms=sa.bindparam("at_ms"),
        contact_ms=sa.bindparam("at_ms"),
        next_at_ms=sa.func.min(visit.c.next_at_ms, sa.bindparam("look_ms")),
    )
)


def running_visit(connection: sa.Connection, person: str) -> int | None:
    """The number of the visit that somebody is on."""
    return next((int(number) for (number,) in _OF_PERSON.all(connection, {"of_person": person})), None)


def visits_of_devices(connection: sa.Connection, names: Collection[str]) -> dict[str, sa.RowMapping]:
    """The running visit of each of these devices that is in one; the newest, where a device changed hands."""
    rows = connection.execute(_OF_DEVICES, {"names": sorted(names)}).mappings()
    return {row["device"]: row for row in rows}


def visits_to_tell(connection: sa.Connection, names: Collection[str], until_ms: int) -> list[sa.RowMapping]:
    """What these devices may have to show: visits that run, and plans before ``until_ms``."""
    return list(connection.execute(_TOLD, {"names": sorted(names), "until_ms": until_ms}).mappings())


def devices_with_visits(connection: sa.Connection, names: Collection[str]) -> set[str]:
    """Those of these devices that are, were or will be in a visit that the ledger still has."""
    return set(connection.execute(_WITH_VISITS, {"names": sorted(names)}).scalars())


def anything_waits(connection: sa.Connection, now_ms: int, ahead_ms: int) -> bool:
    """Whether a visit is due, was last looked at after ``ahead_ms``, or its device is to be told."""
    return bool(_WAITING.all(connection, {"now_ms": now_ms, "ahead_ms": ahead_ms}))


def due_visits(connection: sa.Connection, now_ms: int, ahead_ms: int, most: int) -> list[sa.RowMapping]:
    """Visits that are due, or were last looked at after ``ahead_ms``; of many those that wait longest."""
    due = connection.execute(_DUE, {"now_ms": now_ms, "most": most}).mappings().all()
    ahead = connection.execute(_AHEAD, {"ahead_ms": ahead_ms, "most": most}).mappings().all()
    return list({row["id"]: row for row in (*due, *ahead)}.values())


def postpone(connection: sa.Connection, number: int, now_ms: int, until_ms: int) -> None:
    """Look at a visit again at ``until_ms``, whatever is due of it."""
    values = {"next_at_ms": until_ms, "set_ms": now_ms}
    connection.execute(sa.update(visit).where(visit.c.id == number).values(values))


def take_untold(connection: sa.Connection) -> set[str]:
    """The devices that are to be told how their visits stand; they count as told from now on."""
    rows = connection.execute(_UNTOLD).all()
    if rows:
        connection.execute(sa.update(visit).where(visit.c.untold == sa.true()).values(untold=False))
    return {row.device for row in rows if row.device is not None}


def tell_again(connection: sa.Connection, device: str) -> bool:
    """Have a device told how its newest visit stands; returns False where it never had one."""
    return _AGAIN.run(connection, {"of_device": device}) > 0


def write_beats(connection: sa.Connection, beats: Collection[dict[str, Any]]) -> None:
    """Heartbeats within visits: of_id, at_ms, and look_ms by when the visit has to be looked at."""
    if beats:
        _BEAT.run_each(connection, beats)
