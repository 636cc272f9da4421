"""The visits that run and those about to begin, with their timers."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from lapel_gateway.describe import moment
from lapel_gateway.describe_visits import visit_words
from lapel_gateway.ledger.visit_tables import visit
from lapel_gateway.overview.alarms import phone_of, position_of_visit
from lapel_gateway.settings.visits import VisitsSection
from lapel_gateway.visits.course import PLAN_AHEAD_MS, RUNNING_NAMES, deadline_ms, from_row
from lapel_protocol.names import VISIT_STATE_NAMES
from lapel_protocol.visit import OVERDUE, PLANNED

MAX_VISITS = 500

_RUNNING = (
    sa.select(visit).where(visit.c.state.in_(RUNNING_NAMES)).order_by(visit.c.due_ms, visit.c.id).limit(MAX_VISITS)
)
_PLANNED = (
    sa.select(visit)
    .where(visit.c.state == VISIT_STATE_NAMES[PLANNED], visit.c.planned_ms < sa.bindparam("until_ms"))
    .order_by(visit.c.planned_ms, visit.c.id)
    .limit(MAX_VISITS)
)


def read_visits(connection: sa.Connection, rules: VisitsSection, now_ms: int) -> dict[str, Any]:
    """{number: words} of the visits that run, those first whose deadline is next, and of the plans of a day ahead."""
    running = connection.execute(_RUNNING).mappings().all()
    planned = connection.execute(_PLANNED, {"until_ms": now_ms + PLAN_AHEAD_MS}).mappings().all()
    found = []
    for row in running:
        wanted_ms = deadline_ms(from_row(row), rules)
        words = {
            **visit_words(row),
            "phone": phone_of(connection, row["person"]) or None,
            "amber": moment(row["amber_ms"]),
            "deadline": moment(wanted_ms),
            "late": row["state"] == VISIT_STATE_NAMES[OVERDUE],
            "position": position_of_visit(connection, row["id"]),
        }
        found.append((wanted_ms, words))
    found.sort(key=lambda pair: (pair[0], pair[1]["id"]))
    told = {str(words["id"]): words for _, words in found}
    for row in planned:
        told[str(row["id"])] = {
            **visit_words(row),
            "phone": phone_of(connection, row["person"]) or None,
            "amber": None,
            "deadline": None,
            "late": False,
            "position": None,
        }
    return told


def mark_late(visits: dict[str, Any], now_ms: int) -> None:
    """A visit past its deadline is late whether or not the role that watches over visits has said so yet."""
    for number, words in visits.items():
        if not words["late"] and words["deadline"] is not None and words["deadline"]["ms"] <= now_ms:
            visits[number] = {**words, "late": True}
