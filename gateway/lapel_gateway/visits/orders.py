"""What a device is told of its wearer's visit: desired state, after every hello and at every change.

A running visit goes before a plan, the nearest plan before a later one. A device keeps what it shows: one that was ever
in a visit is told when it is in none, however long it was away. One that never was is told nothing.
"""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa

from lapel_gateway.custody.downlink import Order, changing_order
from lapel_gateway.ledger.devices import Desk
from lapel_gateway.ledger.schema import stored
from lapel_gateway.ledger.visits import devices_with_visits, visits_to_tell
from lapel_gateway.visits.course import PLAN_AHEAD_MS, RUNNING, Visit, from_row
from lapel_protocol.command import VISIT_STATE
from lapel_protocol.orders import VISIT_NONE, VisitState
from lapel_protocol.visit import PLANNED

NO_VISIT = VisitState(0, VISIT_NONE, 0, 0, 0)


def visit_states(connection: sa.Connection, names: Collection[str], now_ms: int) -> dict[str, VisitState]:
    """What each of these devices is to show; a device that has no visit and had none is not in it."""
    states = dict.fromkeys(devices_with_visits(connection, names), NO_VISIT)
    if not states:
        return {}
    best: dict[str, Visit] = {}
    for row in visits_to_tell(connection, states, now_ms + PLAN_AHEAD_MS + 1):
        visit = from_row(row)
        if row["device"] not in best or _rank(visit) > _rank(best[row["device"]]):
            best[row["device"]] = visit
    return states | {name: _state(visit) for name, visit in best.items()}


def visit_order(desk: Desk, device: bytes, state: VisitState, now_ms: int) -> list[Order]:
    """The command for a device; none before it has said hello, after which it is told anyway."""
    if desk.nonce is None:
        return []
    desk.change(command_counter=desk.command_counter + 1)
    return [changing_order(device, VISIT_STATE, state.encode(), desk.nonce, desk.command_counter, now_ms)]


def _rank(visit: Visit) -> tuple[int, int]:
    if visit.state in RUNNING:
        return 2, visit.id
    return 1, -(visit.planned_ms or 0)


def _state(visit: Visit) -> VisitState:
    due_ms, check_in_ms = visit.due_ms or 0, visit.next_check_in_ms or 0
    if visit.state == PLANNED:
        due_ms, check_in_ms = (visit.planned_ms or 0) + visit.expected_ms, 0
    return VisitState(visit.id, visit.state, visit.check_in_ms // 1000, stored(due_ms), stored(check_in_ms))
