"""What is kept of visits is kept for as long as the settings say, and then it is gone.

Rules that hold here
- A visit goes with its log and positions once it ended long enough ago; positions go earlier. Of its alarms, which are
  kept for themselves, and of its notices no more stays than what had happened, and to whom.
- Nothing goes that an open alarm is about. What an alarm held counts from when the alarm was resolved.
- What goes, goes from what was sent too, and deleted bytes are overwritten.
- Only how much went is remembered, and how many visits each team had when (`counts`), which reports are made of.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
import structlog

from lapel_gateway.ledger import writing
from lapel_gateway.ledger.outgoing import add_tallies
from lapel_gateway.ledger.schema import OUTBOX_WAITING, alarm, notice, outbox
from lapel_gateway.ledger.visit_tables import position, visit, visit_log
from lapel_gateway.settings.visits import DAY_MS, VisitsSection
from lapel_gateway.visits import counts
from lapel_gateway.visits.detail import AMBER, without_position

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
            counts.remember(connection, old)
            _words(connection, old, _gist)
            _notices(connection, old)
            connection.execute(sa.update(alarm).where(alarm.c.visit.in_(old)).values(visit=None))
            connection.execute(sa.delete(visit_log).where(visit_log.c.visit.in_(old)))
            connection.execute(sa.delete(visit).where(visit.c.id.in_(old)))
        went = {("", "visits_disposed"): gone.visits, ("", "positions_disposed"): gone.positions}
        add_tallies(connection, {key: count for key, count in went.items() if count}, now_ms)
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
    _words(connection, {*old.values(), *visits} - {None}, without_position)
    gone = connection.execute(sa.delete(position).where(position.c.id.in_(list(old)))).rowcount if old else 0
    if visits:
        gone += connection.execute(sa.delete(position).where(position.c.visit.in_(visits))).rowcount
    return gone


def _words(connection: sa.Connection, visits: Collection[int], left: Callable[[str], str]) -> None:
    """Leave no more of these visits in the words of their alarms, and in what was sent of them, than ``left`` does."""
    own = sa.and_(alarm.c.visit.in_(sorted(visits)), alarm.c.boot.is_(None))
    for row in connection.execute(sa.select(alarm.c.id, alarm.c.detail).where(own)).all() if visits else ():
        if left(row.detail) != row.detail:
            connection.execute(sa.update(alarm).where(alarm.c.id == row.id).values(detail=left(row.detail)))
            _sent(connection, f"alarm-{row.id}", left)


def _notices(connection: sa.Connection, visits: Collection[int]) -> None:
    """Nothing stays of what wearers and buddies were told of these visits but that they were."""
    names = [f"visit {number}" for number in visits]
    connection.execute(sa.delete(notice).where(notice.c.kind == AMBER, notice.c.subject.in_(names)))
    for number in visits:
        _sent(connection, f"notice-{AMBER}-{number}", lambda _: "")


def _sent(connection: sa.Connection, stem: str, left: Callable[[str], str]) -> None:
    """The same for the outbox rows whose keys begin with ``stem`` and a dash, once they have left."""
    query = sa.select(outbox.c.id, outbox.c.payload).where(
        outbox.c.key >= f"{stem}-", outbox.c.key < f"{stem}.", outbox.c.state != OUTBOX_WAITING
    )
    for row in connection.execute(query).all():
        payload: dict[str, Any] = json.loads(row.payload)
        payload["detail"] = left(str(payload.get("detail", "")))
        text = json.dumps(payload, sort_keys=True)
        connection.execute(sa.update(outbox).where(outbox.c.id == row.id).values(payload=text))


def _gist(detail: str) -> str:
    """What had happened, without the visit."""
    return detail.partition("; ")[0]
