"""What a device is told of its wearer's visit: desired state, after every hello and at every change.

A running visit goes before a plan, the nearest plan before a later one; a visit that is over is told as none.
"""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa

from lapel_gateway.downlink import Order, changing_order
from lapel_gateway.ledger.devices import Desk
from lapel_gateway.ledger.schema import stored
from lapel_gateway.ledger.visits import visits_to_tell
from lapel_gateway.settings.visits import DAY_MS
from lapel_gateway.visits.course import RUNNING, Visit, from_row
from lapel_protocol.command import VISIT_STATE
from lapel_protocol.orders import VISIT_NONE, VisitState
from lapel_protocol.visit import PLANNED

PLAN_AHEAD_MS = DAY_MS
"""A plan is told so long before it begins."""

OVER_MS = 7 * DAY_MS
"""A device that was away for so long after a visit is still told that it is over."""

NO_VISIT = VisitState(0, VISIT_NONE, 0, 0, 0)


def visit_states(connection: sa.Connection, names: Collection[str], now_ms: int) -> dict[str, VisitState]:
    """What each of these devices is to show; a device with nothing to show, now or lately, is not in it."""
    best: dict[str, Visit] = {}
    for row in visits_to_tell(connection, names, now_ms + PLAN_AHEAD_MS, now_ms - OVER_MS):
        visit = from_row(row)
        if row["device"] not in best or _rank(visit) > _rank(best[row["device"]]):
            best[row["device"]] = visit
    return {name: _state(visit) for name, visit in best.items()}


def visit_order(desk: Desk, device: bytes, state: VisitState, now_ms: int) -> list[Order]:
    """The command for a device; none before it has said hello, after which it is told anyway."""
    if desk.nonce is None:
        return []
    desk.change(command_counter=desk.command_counter + 1)
    return [changing_order(device, VISIT_STATE, state.encode(), desk.nonce, desk.command_counter, now_ms)]


def _rank(visit: Visit) -> tuple[int, int]:
    if visit.state in RUNNING:
        return 2, visit.id
    return (1, -(visit.planned_ms or 0)) if visit.state == PLANNED else (0, visit.id)


def _state(visit: Visit) -> VisitState:
    if visit.state in RUNNING:
        due_ms, check_in_ms = visit.due_ms or 0, visit.next_check_in_ms or 0
    elif visit.state == PLANNED:
        due_ms, check_in_ms = (visit.planned_ms or 0) + visit.expected_ms, 0
    else:
        return NO_VISIT
    return VisitState(visit.id, visit.state, visit.check_in_ms // 1000, stored(due_ms), stored(check_in_ms))
