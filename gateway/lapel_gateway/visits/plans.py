"""What people do with visits: plan, start, check in, extend, end, take back; each in somebody's name.

Rules that hold here
- Who goes, their buddy and every other user may do all of it; whoever did is noted by name.
- Nothing here answers an alarm: one that was raised stays until a human resolves it, whatever is said of the visit.
- Every text and number has its bounds, the same for pages, commands and scripts.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import sqlalchemy as sa

from lapel_gateway import steps
from lapel_gateway.ledger import reading, writing
from lapel_gateway.ledger.visits import running_visit
from lapel_gateway.one_line import one_line
from lapel_gateway.people import team_of
from lapel_gateway.settings.visits import DAY_MS, HOUR_MS, MINUTE_MS, VisitsSection
from lapel_gateway.visits import risk_register
from lapel_gateway.visits.alarms import note_in_alarms
from lapel_gateway.visits.book import (
    NotNow,
    VisitError,
    enter_visit,
    get_visit,
    note_visit,
    save_visit,
    watch_device,
    worn_by,
)
from lapel_gateway.visits.course import Visit, begin, cancel, check_in, extend, finish
from lapel_gateway.visits.risk_register import Risk
from lapel_protocol.limits import MAX_VISIT_MINUTES
from lapel_protocol.names import VISIT_STATE_NAMES
from lapel_protocol.visit import CANCELLED, ENDED, PLANNED

__all__ = ["Planned", "VisitError", "Wanted"]

MAX_PERSON_CHARACTERS = 80
MAX_PLACE_CHARACTERS = 200
MAX_PURPOSE_CHARACTERS = 200
MAX_PRESENT_CHARACTERS = 200
MAX_RISK_CHARACTERS = 500
MAX_NOTE_CHARACTERS = 500
MAX_CHECK_IN_MINUTES = 720
MAX_PLAN_AHEAD_MS = 366 * DAY_MS
MAX_PLAN_BEHIND_MS = HOUR_MS
"""A plan may be entered a little late; beyond that the date was mistyped."""


@dataclass(frozen=True)
class Wanted:
    """A visit as somebody wants it. None = as the settings say; ``planned_ms`` None = it begins now."""

    person: str
    place: str
    purpose: str = ""
    present: str = ""
    risk: str = ""
    buddy: str = ""
    expected_min: int | None = None
    check_in_min: int = 0
    planned_ms: int | None = None


@dataclass(frozen=True)
class Planned:
    """What came of it: the visit's number, and what the register knows of that place and those people."""

    visit: int
    risks: list[Risk]


def plan(engine: sa.Engine, wanted: Wanted, who: str, now_ms: int, rules: VisitsSection) -> Planned:
    """Plan a visit, or start one at once. Raises VisitError."""
    made = _made(wanted, who, now_ms, rules)
    with _committing(engine) as connection:
        made.team = team_of(connection, made.person)
        made.device = worn_by(connection, made.person)
        made.untold = made.device is not None
        if made.planned_ms is None:
            _begin(connection, made, now_ms, rules)
        enter_visit(connection, made, rules, now_ms)
        note_visit(connection, made, "started" if made.runs else "planned", who, "", now_ms)
        risks = risk_register.find_risks(connection, made.place, made.present, now_ms)
        if risks:
            known = ", ".join(str(risk.id) for risk in risks)
            note_visit(connection, made, "risks known", who, f"entries {known} of the register", now_ms)
    return Planned(made.id, risks)


def foresee(engine: sa.Engine, wanted: Wanted, who: str, now_ms: int, rules: VisitsSection) -> list[Risk]:
    """What the register knows of a visit that somebody wants; nothing is changed. Raises VisitError as `plan` would."""
    made = _made(wanted, who, now_ms, rules)
    with reading(engine) as connection:
        if made.planned_ms is None:
            _check_free(connection, made)
        return risk_register.find_risks(connection, made.place, made.present, now_ms)


def start(engine: sa.Engine, number: int, who: str, now_ms: int, rules: VisitsSection) -> None:
    """Begin a planned visit. Raises VisitError."""
    with _changing(engine, number, rules, now_ms) as (connection, visit):
        if visit.runs or visit.state == ENDED:
            raise NotNow(f"visit {number} {'has begun already' if visit.runs else 'has ended'}")
        visit.device = worn_by(connection, visit.person)
        _begin(connection, visit, now_ms, rules)
        note_visit(connection, visit, "started", who, "", now_ms)


def check_in_at(engine: sa.Engine, number: int, who: str, now_ms: int, rules: VisitsSection) -> None:
    """All is well. Raises VisitError."""
    with _changing(engine, number, rules, now_ms) as (connection, visit):
        _check_runs(visit)
        check_in(visit, now_ms, now_ms, rules)
        note_visit(connection, visit, "checked in", who, "", now_ms)
        note_in_alarms(connection, visit, f"{who} checked in", now_ms)


def extend_by(engine: sa.Engine, number: int, minutes: int | None, who: str, now_ms: int, rules: VisitsSection) -> None:
    """It takes so many minutes longer; None = as the settings say. Raises VisitError."""
    by_min = _minutes("an extension", rules.default_extend_min if minutes is None else minutes)
    with _changing(engine, number, rules, now_ms) as (connection, visit):
        _check_runs(visit)
        extend(visit, by_min * MINUTE_MS, now_ms, now_ms, rules)
        note_visit(connection, visit, "extended", who, f"by {by_min} min", now_ms)
        note_in_alarms(connection, visit, f"{who} extended the visit by {by_min} min", now_ms)


def end(engine: sa.Engine, number: int, who: str, note: str, now_ms: int, rules: VisitsSection) -> None:
    """Nobody is there any more. Raises VisitError."""
    note = one_line("a note", note, MAX_NOTE_CHARACTERS, VisitError)
    with _changing(engine, number, rules, now_ms) as (connection, visit):
        if visit.state in (ENDED, CANCELLED):
            raise NotNow(f"visit {number} is {VISIT_STATE_NAMES[visit.state]} already")
        if not finish(visit, now_ms, who):
            raise NotNow(f"visit {number} has not begun: take it back with cancel")
        note_visit(connection, visit, "ended", who, note, now_ms)
        note_in_alarms(connection, visit, f"{who} ended the visit", now_ms)


def take_back(engine: sa.Engine, number: int, who: str, note: str, now_ms: int, rules: VisitsSection) -> None:
    """A planned visit will not be. Raises VisitError."""
    note = one_line("a note", note, MAX_NOTE_CHARACTERS, VisitError)
    with _changing(engine, number, rules, now_ms) as (connection, visit):
        if not cancel(visit, now_ms, who):
            what = "has begun: end it" if visit.runs else f"is {VISIT_STATE_NAMES[visit.state]} already"
            raise NotNow(f"visit {number} {what}")
        note_visit(connection, visit, "cancelled", who, note, now_ms)


def minutes_of(what: str, text: str) -> int:
    """Minutes as somebody typed them, 0 to a day's; `plan` has the closer bounds. Raises VisitError."""
    text = text.strip()
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(MAX_VISIT_MINUTES))):
        raise VisitError(f"{what} is a whole number of minutes, up to {MAX_VISIT_MINUTES}")
    return int(text)


def _made(wanted: Wanted, who: str, now_ms: int, rules: VisitsSection) -> Visit:
    expected = rules.default_expected_min if wanted.expected_min is None else wanted.expected_min
    if not 0 <= wanted.check_in_min <= MAX_CHECK_IN_MINUTES:
        raise VisitError(f"check-ins are 1 to {MAX_CHECK_IN_MINUTES} minutes apart, or 0 for none")
    planned_ms = wanted.planned_ms
    if planned_ms is not None and not now_ms - MAX_PLAN_BEHIND_MS <= planned_ms <= now_ms + MAX_PLAN_AHEAD_MS:
        raise VisitError("a visit is planned for the coming 366 days")
    return Visit(
        id=0,
        person=one_line("a person's name", wanted.person, MAX_PERSON_CHARACTERS, VisitError, needed=True),
        team="",
        device=None,
        place=one_line("a place", wanted.place, MAX_PLACE_CHARACTERS, VisitError, needed=True),
        purpose=one_line("a purpose", wanted.purpose, MAX_PURPOSE_CHARACTERS, VisitError),
        present=one_line("a list of people", wanted.present, MAX_PRESENT_CHARACTERS, VisitError),
        risk=one_line("a risk note", wanted.risk, MAX_RISK_CHARACTERS, VisitError),
        buddy=one_line("a buddy's name", wanted.buddy, MAX_PERSON_CHARACTERS, VisitError),
        state=PLANNED,
        planned_ms=planned_ms,
        expected_ms=_minutes("a visit", expected) * MINUTE_MS,
        check_in_ms=wanted.check_in_min * MINUTE_MS,
        made_by=who,
        made_ms=now_ms,
    )


def _begin(connection: sa.Connection, visit: Visit, now_ms: int, rules: VisitsSection) -> None:
    _check_free(connection, visit)
    begin(visit, now_ms, rules)
    watch_device(connection, visit, rules)


def _check_free(connection: sa.Connection, visit: Visit) -> None:
    other = running_visit(connection, visit.person)
    if other is not None:
        raise NotNow(f"{visit.person} is on visit {other}: end that one first")


def _check_runs(visit: Visit) -> None:
    if not visit.runs:
        what = "has not begun" if visit.state == PLANNED else f"is {VISIT_STATE_NAMES[visit.state]}"
        raise NotNow(f"visit {visit.id} {what}")


@contextlib.contextmanager
def _committing(engine: sa.Engine) -> Iterator[sa.Connection]:
    with writing(engine) as connection:
        yield connection
        steps.reach("visits.written")
    steps.reach("visits.committed")


@contextlib.contextmanager
def _changing(
    engine: sa.Engine, number: int, rules: VisitsSection, now_ms: int
) -> Iterator[tuple[sa.Connection, Visit]]:
    """Change one visit in a transaction of its own; its device is told. Raises NoSuchVisit."""
    with _committing(engine) as connection:
        visit = get_visit(connection, number)
        yield connection, visit
        visit.untold = visit.device is not None
        save_visit(connection, visit, rules, now_ms)


def _minutes(what: str, minutes: int) -> int:
    if not 1 <= minutes <= MAX_VISIT_MINUTES:
        raise VisitError(f"{what} takes 1 to {MAX_VISIT_MINUTES} minutes")
    return minutes
