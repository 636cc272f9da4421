"""The course of one visit: its times, what people and devices do to them, and what is due. No ledger, no clock.

Rules that hold here
- The state follows the protocol's table (`lapel_protocol.visit`) and nothing else.
- A visit has one deadline: when its time is up, or when a check-in has been missed for the grace, whichever is first.
  Amber comes before it: when the time is nearly up, or when a check-in is due.
- What somebody said counts from when they said it: it moves no deadline further than it would have then.
- Whatever runs is looked at again within `LOOK_MS`, so a visit that runs always has a timer.

Times are Unix milliseconds, UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import sqlalchemy as sa

from lapel_gateway.settings.visits import VisitsSection
from lapel_protocol import visit as protocol_visit
from lapel_protocol.machine import Machine
from lapel_protocol.names import VISIT_STATE_NAMES
from lapel_protocol.visit import ACTIVE, AMBER, CANCELLED, ENDED, OVERDUE, PLANNED

RUNNING = (ACTIVE, AMBER, OVERDUE)
RUNNING_NAMES = tuple(VISIT_STATE_NAMES[state] for state in RUNNING)

LOOK_MS = 60_000
"""How often a visit that runs is looked at, even if nothing of it is due; all of them at the same time."""

PLAN_AHEAD_MS = 24 * 3_600_000
"""So long before it begins a plan is shown on its person's device."""

LONGEST_MS = 24 * 3_600_000
"""No deadline is further away: whoever stays longer says so."""

GATEWAY_NAME = "gateway"
"""Who took a step, where the gateway did."""

CLOCK_SLACK_MS = 5_000
"""A look that seems to be so far ahead is another thread's; anything more is a clock that was set back."""


@dataclass
class Visit:
    """A row of the visit table; ``state`` is the protocol's number."""

    id: int
    person: str
    team: str
    device: str | None
    place: str
    purpose: str
    present: str
    risk: str
    buddy: str
    state: int
    planned_ms: int | None
    expected_ms: int
    check_in_ms: int
    made_by: str
    made_ms: int
    started_ms: int | None = None
    amber_ms: int | None = None
    due_ms: int | None = None
    next_check_in_ms: int | None = None
    contact_ms: int | None = None
    beat_ms: int | None = None
    contact_wait_ms: int = 0
    lost_ms: int | None = None
    low_battery_ms: int | None = None
    next_at_ms: int | None = None
    set_ms: int = 0
    ended_ms: int | None = None
    ended_by: str | None = None
    untold: bool = False

    @property
    def runs(self) -> bool:
        """Whether somebody is on it."""
        return self.state in RUNNING

    @property
    def name(self) -> str:
        """What its alarms are about."""
        return f"visit {self.id}"


_NAMES = tuple(field.name for field in fields(Visit))
_MOVED = ("started_ms", "amber_ms", "due_ms", "next_check_in_ms", "contact_ms", "beat_ms", "lost_ms", "low_battery_ms")


def from_row(row: Mapping[str, Any] | sa.RowMapping) -> Visit:
    """A visit as the ledger holds it."""
    values = {name: row[name] for name in _NAMES}
    return Visit(**{**values, "state": VISIT_STATE_NAMES.index(row["state"]), "untold": bool(row["untold"])})


def to_row(visit: Visit) -> dict[str, Any]:
    """The values of every column but its number."""
    values = asdict(visit) | {"state": VISIT_STATE_NAMES[visit.state]}
    del values["id"]
    return values


def begin(visit: Visit, at_ms: int, rules: VisitsSection) -> bool:
    """Somebody is there since ``at_ms``. Returns False for a repeat, which changes nothing."""
    before = visit.state
    _handle(visit, protocol_visit.START)
    if before in RUNNING or not visit.runs:
        return False
    visit.started_ms = visit.contact_ms = at_ms
    visit.beat_ms = visit.lost_ms = visit.low_battery_ms = visit.ended_ms = visit.ended_by = None
    visit.next_check_in_ms = at_ms + visit.check_in_ms if visit.check_in_ms else None
    _set_due(visit, at_ms + visit.expected_ms, at_ms, rules)
    return True


def check_in(visit: Visit, at_ms: int, now_ms: int, rules: VisitsSection) -> bool:
    """All was well at ``at_ms``. Returns whether that still counts now; if not, it was a sign of the wearer only."""
    _contact(visit, at_ms)
    if at_ms >= _known(visit.amber_ms):
        _set_due(visit, max(_known(visit.due_ms), at_ms + rules.check_in_gives_ms), at_ms, rules)
    return _settle(visit, protocol_visit.CHECK_IN, now_ms, rules)


def extend(visit: Visit, by_ms: int, at_ms: int, now_ms: int, rules: VisitsSection) -> bool:
    """It takes ``by_ms`` longer, said at ``at_ms``. Returns whether its new deadline is still to come."""
    _contact(visit, at_ms)
    before = _known(visit.due_ms)
    _set_due(visit, min(max(before, at_ms) + by_ms, max(before, at_ms + LONGEST_MS)), at_ms, rules)
    visit.expected_ms += max(0, _known(visit.due_ms) - before)
    return _settle(visit, protocol_visit.EXTEND, now_ms, rules)


def finish(visit: Visit, at_ms: int, who: str) -> bool:
    """Nobody is there any more. Returns False where that is known, or it never began."""
    return _stop(visit, protocol_visit.END, ENDED, at_ms, who)


def cancel(visit: Visit, at_ms: int, who: str) -> bool:
    """A plan is taken back. Returns False where there is none to take back."""
    return _stop(visit, protocol_visit.CANCEL, CANCELLED, at_ms, who)


def warning_ms(visit: Visit) -> int:
    """When the wearer and the buddy are to be told."""
    return min(_known(visit.amber_ms), _far(visit.next_check_in_ms))


def deadline_ms(visit: Visit, rules: VisitsSection) -> int:
    """When it is overdue."""
    return min(_known(visit.due_ms), _far(visit.next_check_in_ms) + rules.grace_ms)


def silent_ms(visit: Visit) -> int:
    """When contact with its device is lost, if nothing comes."""
    return max(_known(visit.beat_ms), _known(visit.started_ms)) + visit.contact_wait_ms


def pass_time(visit: Visit, now_ms: int, rules: VisitsSection) -> tuple[int, ...]:
    """Let the time be ``now_ms``; returns the effects of what is due, in the order of the protocol's table."""
    if visit.state == PLANNED:
        if now_ms >= _known(visit.planned_ms) + rules.plan_keep_ms:
            cancel(visit, now_ms, GATEWAY_NAME)
            return (protocol_visit.STOP,)
        return ()
    if not visit.runs:
        return ()
    effects: tuple[int, ...] = ()
    if now_ms >= deadline_ms(visit, rules):
        effects += _handle(visit, protocol_visit.EXPIRE)
    elif now_ms >= warning_ms(visit):
        effects += _handle(visit, protocol_visit.WARN)
    if visit.contact_wait_ms and visit.lost_ms is None and now_ms >= silent_ms(visit):
        visit.lost_ms = now_ms
        effects += _handle(visit, protocol_visit.CONTACT_LOST)
    return effects


def set_timer(visit: Visit, now_ms: int, rules: VisitsSection) -> None:
    """Work out when it has to be looked at again."""
    visit.set_ms = now_ms
    if visit.state == PLANNED:
        tell_ms = _known(visit.planned_ms) - PLAN_AHEAD_MS
        visit.next_at_ms = tell_ms if tell_ms > now_ms else _known(visit.planned_ms) + rules.plan_keep_ms
    elif visit.runs:
        due = [(now_ms // LOOK_MS + 1) * LOOK_MS]
        if visit.state == ACTIVE:
            due.append(warning_ms(visit))
        if visit.state != OVERDUE:
            due.append(deadline_ms(visit, rules))
        if visit.contact_wait_ms and visit.lost_ms is None:
            due.append(silent_ms(visit))
        visit.next_at_ms = min(due)
    else:
        visit.next_at_ms, visit.set_ms = None, 0


def mend_clock(visit: Visit, now_ms: int) -> int:
    """Move the times of a visit after the clock was set back; returns by how much, 0 = it was not.

    The clock was set back some time after the last look, which is `LOOK_MS` ago at most: every time comes earlier by
    that much more, so that nothing is late.
    """
    if not visit.runs or visit.set_ms <= now_ms + CLOCK_SLACK_MS:
        return 0
    by_ms = visit.set_ms - now_ms + LOOK_MS
    for name in _MOVED:
        value = getattr(visit, name)
        if value is not None:
            setattr(visit, name, value - by_ms)
    return by_ms


def _handle(visit: Visit, what: int) -> tuple[int, ...]:
    machine = Machine(protocol_visit.TRANSITIONS, visit.state)
    effects = machine.handle(what)
    visit.state = machine.state
    return tuple(effects)


def _contact(visit: Visit, at_ms: int) -> None:
    visit.contact_ms = max(_known(visit.contact_ms), at_ms)
    if visit.check_in_ms:
        visit.next_check_in_ms = max(_known(visit.next_check_in_ms), at_ms + visit.check_in_ms)


def _settle(visit: Visit, what: int, now_ms: int, rules: VisitsSection) -> bool:
    """Go back to active if the new deadline is still to come. One that warns at once stays amber."""
    if now_ms >= deadline_ms(visit, rules):
        return False
    if visit.state != AMBER or now_ms < warning_ms(visit):
        _handle(visit, what)
    return True


def _stop(visit: Visit, what: int, state: int, at_ms: int, who: str) -> bool:
    before = visit.state
    _handle(visit, what)
    if visit.state != state or before == state:
        return False
    visit.ended_ms, visit.ended_by = at_ms, who
    return True


def _set_due(visit: Visit, due_ms: int, at_ms: int, rules: VisitsSection) -> None:
    """A short time is amber in its second half only."""
    visit.due_ms = due_ms
    visit.amber_ms = due_ms - min(rules.amber_before_ms, max(0, due_ms - at_ms) // 2)


def _known(time_ms: int | None) -> int:
    return 0 if time_ms is None else time_ms


def _far(time_ms: int | None) -> int:
    return 1 << 62 if time_ms is None else time_ms
