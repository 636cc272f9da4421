"""What is kept of visits is kept for as long as the settings say, and then it is gone.

Rules that hold here
- A visit goes with its log and positions once it ended long enough ago; positions go earlier.
- Nothing goes that an open alarm is about. What an alarm held counts from when the alarm was resolved.
- A position goes from the words of its alarms too, and from what was sent of them; deleted bytes are overwritten.
- Only how much went is remembered.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
import structlog

from lapel_gateway.config_visits import DAY_MS, VisitsSection
from lapel_gateway.ledger import writing
from lapel_gateway.ledger.outgoing import add_tallies
from lapel_gateway.ledger.schema import OUTBOX_WAITING, alarm, outbox, position, visit, visit_log
from lapel_gateway.visit_detail import POSITION, without_position

PORTION = 500
"""Of visits, of positions and of alarms' words in one transaction."""

_log = structlog.get_logger("lapel.visits")


@dataclass(frozen=True)
class Disposed:
    """How much went."""

    visits: int
    positions: int

    @property
    def more(self) -> bool:
        """Whether there may be more to dispose of."""
        return max(self.visits, self.positions) >= PORTION


def dispose(engine: sa.Engine, rules: VisitsSection, now_ms: int) -> Disposed:
    """Delete what was kept long enough, as far as one transaction goes."""
    position_cut_ms = now_ms - min(rules.position_keep_days, rules.keep_days) * DAY_MS
    with writing(engine) as connection:
        connection.exec_driver_sql("PRAGMA secure_delete=ON").close()
        old = _old_visits(connection, now_ms - rules.keep_days * DAY_MS)
        gone = Disposed(len(old), _positions(connection, position_cut_ms, old))
        if old:
            connection.execute(sa.update(alarm).where(alarm.c.visit.in_(old)).values(visit=None))
            connection.execute(sa.delete(visit_log).where(visit_log.c.visit.in_(old)))
            connection.execute(sa.delete(visit).where(visit.c.id.in_(old)))
        counts = {("", "visits_disposed"): gone.visits, ("", "positions_disposed"): gone.positions}
        add_tallies(connection, {key: count for key, count in counts.items() if count}, now_ms)
    if gone.visits or gone.positions:
        _log.info("visits disposed of", visits=gone.visits, positions=gone.positions)
    return gone


def _held(of: sa.ColumnElement[bool], cut_ms: int) -> sa.ColumnElement[bool]:
    """Whether an alarm is open, or was until lately."""
    recent = sa.or_(alarm.c.resolved_ms.is_(None), alarm.c.resolved_ms > cut_ms)
    return sa.exists(sa.select(alarm.c.id).where(of, recent))


def _old_visits(connection: sa.Connection, cut_ms: int) -> list[int]:
    query = (
        sa.select(visit.c.id)
        .where(visit.c.ended_ms < cut_ms, ~_held(alarm.c.visit == visit.c.id, cut_ms))
        .order_by(visit.c.ended_ms)
        .limit(PORTION)
    )
    return list(connection.execute(query).scalars())


def _positions(connection: sa.Connection, cut_ms: int, visits: list[int]) -> int:
    query = (
        sa.select(position.c.id, position.c.visit)
        .where(
            position.c.received_ms < cut_ms,
            ~_held(alarm.c.id == position.c.alarm_id, cut_ms),
            ~_held(alarm.c.visit == position.c.visit, cut_ms),
        )
        .order_by(position.c.received_ms)
        .limit(PORTION)
    )
    old = {row.id: row.visit for row in connection.execute(query)}
    _words(connection, {*old.values(), *visits} - {None})
    gone = connection.execute(sa.delete(position).where(position.c.id.in_(list(old)))).rowcount if old else 0
    if visits:
        gone += connection.execute(sa.delete(position).where(position.c.visit.in_(visits))).rowcount
    return gone


def _words(connection: sa.Connection, visits: Collection[int]) -> None:
    """Take the positions out of the words of these visits' alarms, and out of what was sent of them."""
    query = sa.select(alarm.c.id, alarm.c.detail).where(alarm.c.visit.in_(sorted(visits)))
    for row in connection.execute(query).all() if visits else ():
        if POSITION not in row.detail:
            continue
        plain = without_position(row.detail)
        connection.execute(sa.update(alarm).where(alarm.c.id == row.id).values(detail=plain))
        first, beyond = f"alarm-{row.id}-", f"alarm-{row.id}."
        sent = sa.select(outbox.c.id, outbox.c.payload).where(
            outbox.c.key >= first, outbox.c.key < beyond, outbox.c.state != OUTBOX_WAITING
        )
        for parcel in connection.execute(sent).all():
            payload: dict[str, Any] = json.loads(parcel.payload)
            payload["detail"] = without_position(str(payload.get("detail", "")))
            text = json.dumps(payload, sort_keys=True)
            connection.execute(sa.update(outbox).where(outbox.c.id == parcel.id).values(payload=text))
