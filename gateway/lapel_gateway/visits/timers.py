"""The timers of visits: what is due is done, whichever process died meanwhile and whatever became of its clock.

Rules that hold here
- A timer is a time in the ledger. What it leads to (a state, an alarm, a notice, a line in the log) and the next timer
  are one commit.
- A clock set forward makes things due early. One set back is noticed by the last look, and moves the times of what
  runs, so that nothing is late.
- An overdue visit ends by its wearer, its buddy, any user, or with the alarm that a human resolved.
- A poll costs one read by indices. It writes when something is due, a portion at a time: alarms may be waiting.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
import structlog

from lapel_gateway import steps
from lapel_gateway.alarms.kinds import CONTACT_LOST, VISIT_LOW_BATTERY, VISIT_OVERDUE
from lapel_gateway.alarms.policies import PERSON_PREFIX, Reach
from lapel_gateway.custody.downlink import seal_order
from lapel_gateway.ledger import reading, writing
from lapel_gateway.ledger.devices import Desks
from lapel_gateway.ledger.outgoing import add_notice
from lapel_gateway.ledger.schema import alarm
from lapel_gateway.ledger.visits import anything_waits, due_visits, postpone, take_untold
from lapel_gateway.registry import Registry
from lapel_gateway.settings.visits import MINUTE_MS, VisitsSection
from lapel_gateway.verify import Verifier
from lapel_gateway.visits.alarms import note_in_alarms, raise_of_visit
from lapel_gateway.visits.beats import battery_is_low
from lapel_gateway.visits.book import note_visit, save_visit, watch_device, worn_by
from lapel_gateway.visits.course import (
    CLOCK_SLACK_MS,
    GATEWAY_NAME,
    LOOK_MS,
    Visit,
    deadline_ms,
    finish,
    from_row,
    mend_clock,
    pass_time,
    to_row,
    warning_ms,
)
from lapel_gateway.visits.detail import AMBER, visit_detail
from lapel_gateway.visits.orders import NO_VISIT, visit_order, visit_states
from lapel_protocol.visit import ASK_CHECK_IN, OVERDUE, PLANNED, RAISE_CONTACT_LOST, RAISE_OVERDUE, STOP

PORTION = 16
"""Visits looked at in one transaction: an alarm waits for the transaction under way."""

NO_REACH = Reach({})

_log = structlog.get_logger("lapel.visits")

_ANSWERED = (
    sa.select(alarm.c.resolved_by, alarm.c.resolved_ms)
    .where(alarm.c.visit == sa.bindparam("of_visit"), alarm.c.kind == VISIT_OVERDUE)
    .order_by(alarm.c.resolved_ms)
)
"""Ordered by when they were resolved, what is open before them."""


class VisitWatch:
    """Looks after the visits; called a few times a second."""

    def __init__(
        self,
        engine: sa.Engine,
        registry: Registry,
        rules: VisitsSection,
        reach: Reach = NO_REACH,
        verifier: Verifier | None = None,
    ) -> None:
        """``reach``: channels to one person each, which that person's notices are sent through beside the others."""
        self._engine = engine
        self._reach = reach
        self._registry = registry
        self._rules = rules
        self._verifier = verifier or Verifier()

    def turn(self, now_ms: int) -> list[tuple[str, bytes]]:
        """Do what is due; returns downlinks for devices that are to show something else."""
        with reading(self._engine) as connection:
            if not anything_waits(connection, now_ms, now_ms + CLOCK_SLACK_MS):
                return []
        downlinks = []
        with writing(self._engine, urgent=True) as connection:
            advance(connection, self._rules, self._reach, now_ms)
            names = take_untold(connection)
            states = visit_states(connection, names, now_ms) if names else {}
            trusts = self._registry.trust(connection, {bytes.fromhex(name) for name in names})
            desks = Desks(connection, names)
            for device, trust in sorted(trusts.items()):
                orders = visit_order(desks[trust.name], device, states.get(trust.name, NO_VISIT), now_ms)
                downlinks += [seal_order(self._verifier, trust, order) for order in orders]
            desks.write(connection)
            steps.reach("visits.due_written")
        steps.reach("visits.due_committed")
        return downlinks


def advance(connection: sa.Connection, rules: VisitsSection, reach: Reach, now_ms: int) -> None:
    """Do what is due of some visits, those that wait longest first, in the caller's transaction."""
    for row in due_visits(connection, now_ms, now_ms + CLOCK_SLACK_MS, PORTION):
        try:
            with connection.begin_nested():
                _look(connection, from_row(row), rules, reach, now_ms)
        except sa.exc.OperationalError:
            raise
        except Exception:  # noqa: BLE001 - one visit must not keep the others from being looked at
            _log.exception("visit set aside", id=row["id"], again_in_s=LOOK_MS // 1000)
            postpone(connection, row["id"], now_ms, now_ms + LOOK_MS)


def _look(connection: sa.Connection, visit: Visit, rules: VisitsSection, reach: Reach, now_ms: int) -> None:
    was = to_row(visit)
    moved_ms = mend_clock(visit, now_ms)
    if moved_ms:
        note_visit(
            connection, visit, "clock set back", GATEWAY_NAME, f"its times come {moved_ms // 1000} s earlier", now_ms
        )
    facts: dict[str, Any] = {}
    if visit.runs:
        facts = watch_device(connection, visit, rules)
        _hear(connection, visit, now_ms)
        _charge(connection, visit, facts, rules, now_ms)
    before = visit.state
    for effect in pass_time(visit, now_ms, rules):
        if effect == ASK_CHECK_IN:
            _ask(connection, visit, rules, reach, now_ms)
        elif effect == RAISE_OVERDUE:
            note_visit(connection, visit, "overdue", GATEWAY_NAME, "", now_ms)
            raise_of_visit(connection, visit, VISIT_OVERDUE, "a visit is overdue", facts, now_ms)
        elif effect == RAISE_CONTACT_LOST:
            seconds = visit.contact_wait_ms // 1000
            note_visit(connection, visit, "contact lost", GATEWAY_NAME, f"nothing heard for {seconds} s", now_ms)
            what = f"nothing was heard of a device in a visit for {seconds} s"
            raise_of_visit(connection, visit, CONTACT_LOST, what, facts, now_ms)
        elif effect == STOP and before == PLANNED:
            note_visit(connection, visit, "cancelled", GATEWAY_NAME, "nobody began it", now_ms)
    if before == OVERDUE:
        _end_answered(connection, visit, now_ms)
    if visit.state == PLANNED:
        visit.device = worn_by(connection, visit.person)
    if visit.state != before or visit.state == PLANNED or moved_ms:
        visit.untold = visit.device is not None
    save_visit(connection, visit, rules, now_ms, was)


def _hear(connection: sa.Connection, visit: Visit, now_ms: int) -> None:
    """Its device is heard of again."""
    if visit.lost_ms is not None and visit.beat_ms is not None and visit.beat_ms > visit.lost_ms:
        visit.lost_ms = None
        note_visit(connection, visit, "contact again", GATEWAY_NAME, "", now_ms)
        note_in_alarms(connection, visit, "its device is heard of again", now_ms)


def _charge(connection: sa.Connection, visit: Visit, facts: dict[str, Any], rules: VisitsSection, now_ms: int) -> None:
    """Its device's battery will not last, as the device said within the visit: told once."""
    if visit.low_battery_ms is not None or visit.beat_ms is None or "battery_percent" not in facts:
        return
    left_min = max(0, ((visit.due_ms or 0) - now_ms) // MINUTE_MS)
    if battery_is_low(facts["battery_percent"], facts.get("battery_minutes", 0), left_min, rules):
        visit.low_battery_ms = now_ms
        percent, minutes = facts["battery_percent"], facts.get("battery_minutes", 0)
        note_visit(connection, visit, "low battery", GATEWAY_NAME, f"{percent} %, {minutes} min", now_ms)
        raise_of_visit(
            connection, visit, VISIT_LOW_BATTERY, "a device's battery will not last its visit", facts, now_ms
        )


def _ask(connection: sa.Connection, visit: Visit, rules: VisitsSection, reach: Reach, now_ms: int) -> None:
    """Amber: tell wearer and buddy, once for each deadline."""
    late_in_min = max(0, (deadline_ms(visit, rules) - now_ms + MINUTE_MS - 1) // MINUTE_MS)
    note_visit(connection, visit, "check-in wanted", GATEWAY_NAME, f"overdue in {late_in_min} min", now_ms)
    what = f"overdue in {late_in_min} min unless somebody checks in, extends or ends it"
    people = [name for name in (visit.person, visit.buddy) if name]
    add_notice(
        connection,
        AMBER,
        f"{visit.id}-{warning_ms(visit)}",
        visit.device or "",
        visit.name,
        visit_detail(connection, visit, what, now_ms, where=False),
        now_ms,
        people=people,
        channels=reach.channels([PERSON_PREFIX + name for name in people]),
    )


def _end_answered(connection: sa.Connection, visit: Visit, now_ms: int) -> None:
    """A human resolved the alarm of a visit that is still overdue: they have seen to it, and it is over."""
    rows = connection.execute(_ANSWERED, {"of_visit": visit.id}).all()
    if visit.state == OVERDUE and rows and rows[0].resolved_ms is not None:
        finish(visit, now_ms, rows[-1].resolved_by)
        note_visit(connection, visit, "ended", rows[-1].resolved_by, "with its alarm", now_ms)
