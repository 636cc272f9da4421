"""Visits as people look at them: one whole, those of a day, and how each one's time goes.

Rules that hold here
- Whoever may see their own visits only (``whose``) is told of no other, not even that it is there.
- Positions are read where they are asked for, and nowhere else: whoever shows them notes it in the audit log.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from lapel_gateway.describe import alarm_words, log_words, moment
from lapel_gateway.describe_visits import position_words, visit_words
from lapel_gateway.ledger.schema import alarm
from lapel_gateway.ledger.visit_tables import position, visit, visit_log
from lapel_gateway.ledger.visits import RUNNING
from lapel_gateway.reports.period import Period
from lapel_gateway.settings.visits import VisitsSection
from lapel_gateway.visits.book import NoSuchVisit
from lapel_gateway.visits.course import Visit, deadline_ms, from_row, warning_ms
from lapel_gateway.visits.risk_register import Risk, find_risks
from lapel_protocol.names import VISIT_STATE_NAMES
from lapel_protocol.visit import CANCELLED, OVERDUE, PLANNED

MAX_ROWS = 500
"""In one answer."""

PLANNED_NAME = VISIT_STATE_NAMES[PLANNED]
CANCELLED_NAME = VISIT_STATE_NAMES[CANCELLED]

_BEGINS = sa.func.coalesce(visit.c.started_ms, visit.c.planned_ms, visit.c.made_ms)


_OPEN = sa.or_(RUNNING, visit.c.state == PLANNED_NAME)


@dataclass(frozen=True)
class Chosen:
    """Which visits are asked for; None = any."""

    whose: str | None = None
    """Whose alone there are, for whoever asks."""
    person: str | None = None
    team: str | None = None
    state: str | None = None

    def of(self, query: sa.Select[Any]) -> sa.Select[Any]:
        """The query, of these alone."""
        wanted = ((visit.c.person, self.whose), (visit.c.person, self.person), (visit.c.team, self.team))
        for column, value in (*wanted, (visit.c.state, self.state)):
            if value is not None:
                query = query.where(column == value)
        return query


@dataclass(frozen=True)
class Sight:
    """What somebody looks at of one visit."""

    visit: Visit
    words: dict[str, Any]
    """As the API tells it, with log and alarms."""
    alarms: list[dict[str, Any]]
    """Those raised within it, whole (`describe.alarm_words`), oldest first."""
    positions: int
    """How many there are, shown or not."""
    risks: list[Risk]
    """What the register knows of the place and of those who are expected there, as of now."""


def find_visit(connection: sa.Connection, number: int, whose: str | None) -> Visit:
    """A visit by its number; of one person's alone, where ``whose`` names one. Raises NoSuchVisit."""
    row = connection.execute(sa.select(visit).where(visit.c.id == number)).mappings().one_or_none()
    if row is None or (whose is not None and row["person"] != whose):
        raise NoSuchVisit("there is no such visit")
    return from_row(row)


def watched_words(row: sa.RowMapping, rules: VisitsSection, now_ms: int) -> dict[str, Any]:
    """A row of the visit table with its timers; late from its deadline on, whether or not the gateway has said so."""
    found = from_row(row)
    runs_out_ms = deadline_ms(found, rules) if found.runs else None
    return {
        **visit_words(row),
        "amber": moment(warning_ms(found) if found.runs else None),
        "deadline": moment(runs_out_ms),
        "late": found.state == OVERDUE or (runs_out_ms is not None and runs_out_ms <= now_ms),
    }


def see_visit(
    connection: sa.Connection, number: int, whose: str | None, rules: VisitsSection, now_ms: int, *, where: bool
) -> Sight:
    """One visit; with ``where`` its positions are among its words. Raises NoSuchVisit."""
    find_visit(connection, number, whose)
    row = connection.execute(sa.select(visit).where(visit.c.id == number)).mappings().one()
    log = sa.select(visit_log).where(visit_log.c.visit == number).order_by(visit_log.c.id.desc()).limit(MAX_ROWS)
    found = sa.select(position).where(position.c.visit == number).order_by(position.c.id.desc()).limit(MAX_ROWS)
    count = sa.select(sa.func.count()).where(position.c.visit == number)
    raised = sa.select(alarm).where(alarm.c.visit == number).order_by(alarm.c.received_ms)
    alarms = [alarm_words(one) for one in connection.execute(raised).mappings()]
    places = connection.execute(found).mappings().all() if where else []
    words = {
        **watched_words(row, rules, now_ms),
        "log": [log_words(one) for one in reversed(connection.execute(log).mappings().all())],
        "alarms": [one["id"] for one in alarms],
        "positions": [position_words(one) for one in reversed(places)],
    }
    risks = find_risks(connection, row["place"], row["present"], now_ms)
    return Sight(from_row(row), words, alarms, connection.execute(count).scalar_one(), risks)


def list_visits(
    connection: sa.Connection,
    chosen: Chosen,
    rules: VisitsSection,
    now_ms: int,
    most: int = MAX_ROWS,
    *,
    every: bool = False,
) -> list[dict[str, Any]]:
    """Words of the visits that run or are planned, the newest first; with ``every``, or of a state, any."""
    query = chosen.of(sa.select(visit)).order_by(visit.c.id.desc()).limit(most)
    if chosen.state is None and not every:
        query = query.where(_OPEN)
    return [watched_words(row, rules, now_ms) for row in connection.execute(query).mappings()]


def visits_of_period(
    connection: sa.Connection,
    period: Period,
    chosen: Chosen,
    rules: VisitsSection,
    now_ms: int,
    most: int = MAX_ROWS,
) -> list[dict[str, Any]]:
    """Words of the visits that some of a period was, is or will be part of: by person, then by when they begin."""
    due_then = sa.or_(sa.literal(now_ms) >= period.from_ms, visit.c.due_ms >= period.from_ms)
    planned_then = sa.and_(
        visit.c.state.in_((PLANNED_NAME, CANCELLED_NAME)),
        visit.c.planned_ms < period.to_ms,
        visit.c.planned_ms + visit.c.expected_ms >= period.from_ms,
    )
    here = sa.or_(
        sa.and_(RUNNING, visit.c.started_ms < period.to_ms, due_then),
        sa.and_(visit.c.ended_ms >= period.from_ms, visit.c.started_ms < period.to_ms),
        planned_then,
    )
    query = chosen.of(sa.select(visit).where(here)).order_by(visit.c.person, _BEGINS, visit.c.id).limit(most)
    return [watched_words(row, rules, now_ms) for row in connection.execute(query).mappings()]


def own_visits(connection: sa.Connection, person: str, rules: VisitsSection, now_ms: int) -> list[dict[str, Any]]:
    """Words of the visits of somebody that run or are planned: the running one first, then the nearest plan."""
    query = sa.select(visit).where(visit.c.person == person, _OPEN).limit(MAX_ROWS)
    query = query.order_by(visit.c.state == PLANNED_NAME, visit.c.planned_ms, visit.c.id)
    return [watched_words(row, rules, now_ms) for row in connection.execute(query).mappings()]


def buddies_of(connection: sa.Connection, person: str) -> list[str]:
    """Whom somebody has named as a buddy before, by name."""
    query = sa.select(visit.c.buddy).where(visit.c.person == person, visit.c.buddy != "").distinct()
    return list(connection.execute(query.order_by(visit.c.buddy).limit(MAX_ROWS)).scalars())
