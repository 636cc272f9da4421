"""How many visits there were: of those that are kept, and of those disposed of, which leave no more than that.

A visit counts in the hour in which it was begun, was to begin, or was made, the first of these that it has. Hours are
whole hours of UTC: no more precise, so that a count says nothing of one visit, and as precise as local days need it in
zones whose offset is whole hours.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from lapel_gateway.ledger.visit_tables import visit, visit_count, visit_log
from lapel_protocol.names import VISIT_STATE_NAMES
from lapel_protocol.visit import CANCELLED

HOUR_MS = 3_600_000
_AT = sa.func.coalesce(visit.c.started_ms, visit.c.planned_ms, visit.c.made_ms)
COUNTS = ("planned", "started", "cancelled", "overdue", "contact_lost")


@dataclass(frozen=True, slots=True)
class VisitCount:
    """So many visits of a team in an hour, and of these what became of how many."""

    at_ms: int
    team: str
    planned: int
    started: int
    cancelled: int
    overdue: int
    contact_lost: int


def remember(connection: sa.Connection, visits: Collection[int]) -> None:
    """Add visits, which are about to be deleted, to the counts of their hours."""
    for one in _counted(connection, visit.c.id.in_(sorted(visits))):
        counts = {name: getattr(one, name) for name in COUNTS}
        entered = insert(visit_count).values(hour_ms=one.at_ms, team=one.team, **counts)
        more = {name: visit_count.c[name] + count for name, count in counts.items()}
        connection.execute(entered.on_conflict_do_update(index_elements=["hour_ms", "team"], set_=more))


def read_counts(connection: sa.Connection, from_ms: int, to_ms: int) -> Iterator[VisitCount]:
    """Every visit whose hour begins in the period, kept or disposed of."""
    for one in _counted(connection, sa.and_(from_ms <= _AT, to_ms + HOUR_MS > _AT)):
        if from_ms <= one.at_ms < to_ms:
            yield one
    gone = sa.select(visit_count).where(visit_count.c.hour_ms >= from_ms, visit_count.c.hour_ms < to_ms)
    for row in connection.execute(gone):
        yield VisitCount(row.hour_ms, row.team, *(getattr(row, name) for name in COUNTS))


def _counted(connection: sa.Connection, which: sa.ColumnElement[bool]) -> list[VisitCount]:
    def had(step: str) -> sa.ColumnElement[bool]:
        return sa.exists(sa.select(visit_log.c.id).where(visit_log.c.visit == visit.c.id, visit_log.c.step == step))

    query = sa.select(
        _AT.label("at_ms"),
        visit.c.team,
        visit.c.planned_ms.is_not(None).label("planned"),
        visit.c.started_ms.is_not(None).label("started"),
        (visit.c.state == VISIT_STATE_NAMES[CANCELLED]).label("cancelled"),
        had("overdue").label("overdue"),
        had("contact lost").label("contact_lost"),
    ).where(which)
    return [
        VisitCount(row.at_ms - row.at_ms % HOUR_MS, row.team, *(int(getattr(row, name)) for name in COUNTS))
        for row in connection.execute(query)
    ]
