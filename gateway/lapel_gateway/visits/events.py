"""What devices say of visits: VISIT events, taken once for ever, whenever they arrive.

Rules that hold here
- What a device says counts from when it said so, if its clock can be believed. What arrives late changes no time to
  come: see `course`.
- A start is believed in doubt, because it only makes people look; an end is not, because it lets them stop.
- What is refused is counted by its reason. It stays in the ledger as an event, and its device gets its receipt.
"""

from __future__ import annotations

import sqlalchemy as sa

from lapel_gateway.alarms.book import DEVICE_NAME
from lapel_gateway.ledger.visits import running_visit
from lapel_gateway.people import team_of, wearer_of
from lapel_gateway.settings.visits import MINUTE_MS, VisitsSection
from lapel_gateway.verify import Trust
from lapel_gateway.visits.alarms import note_in_alarms
from lapel_gateway.visits.book import (
    NoSuchVisit,
    enter_visit,
    get_visit,
    note_visit,
    save_visit,
    watch_device,
)
from lapel_gateway.visits.course import LONGEST_MS, Visit, begin, check_in, extend, finish
from lapel_protocol.clip import TRUST_GATEWAY, TRUST_NTP
from lapel_protocol.event import Event
from lapel_protocol.reports import VISIT_CHECK_IN, VISIT_END, VISIT_START, VisitNote
from lapel_protocol.visit import ENDED, PLANNED

PLACE_NOT_SAID = "not said"
"""Of a visit that a device began without a plan."""

LATE_MS = 5 * MINUTE_MS
"""What was said longer ago counts at its own time only; a clock further ahead is not believed."""

# Why a word is refused, as it is counted
LATE = "visit_late"  # said of a visit that has ended, or too long ago
UNKNOWN = "visit_unknown"  # of no visit, or another's
FUTURE = "visit_future"  # by a clock that is ahead
UNTIMED = "visit_untimed"  # nobody knows when, and it would move something


def take_visit_note(
    connection: sa.Connection, trust: Trust, found: Event, note: VisitNote, rules: VisitsSection, now_ms: int
) -> str | None:
    """Take a verified VISIT event that is new; returns why it is refused, None when it was taken."""
    at_ms = said_ms(found, now_ms)
    if at_ms is not None and at_ms > now_ms:
        return FUTURE
    if note.what == VISIT_START:
        return _start(connection, trust, note, at_ms, rules, now_ms)
    visit = _named(connection, trust, note.visit)
    if visit is None:
        return UNKNOWN
    if not visit.runs:
        return UNKNOWN if visit.state == PLANNED else LATE
    if at_ms is None:
        return UNTIMED
    if at_ms < (visit.started_ms or 0) - LATE_MS:
        # Said before this visit began, and so of another one.
        return LATE
    if at_ms == now_ms:
        _adopt(connection, trust, visit, rules, now_ms)
    if note.what == VISIT_END:
        finish(visit, at_ms, visit.person)
        return _done(connection, visit, "ended", _late(at_ms, now_ms), rules, now_ms)
    if note.what == VISIT_CHECK_IN:
        counts = check_in(visit, at_ms, now_ms, rules)
        return _done(connection, visit, "checked in", _late(at_ms, now_ms, counts), rules, now_ms)
    by_min = note.minutes or rules.default_extend_min
    counts = extend(visit, by_min * MINUTE_MS, at_ms, now_ms, rules)
    return _done(connection, visit, "extended", f"by {by_min} min{_late(at_ms, now_ms, counts)}", rules, now_ms)


def said_ms(found: Event, now_ms: int) -> int | None:
    """When a word counts from: now for what is fresh, its own time for what is late or ahead; None = unknown."""
    if found.trust not in (TRUST_NTP, TRUST_GATEWAY):
        return None
    return now_ms if abs(now_ms - found.wall_ms) <= LATE_MS else found.wall_ms


def _start(
    connection: sa.Connection, trust: Trust, note: VisitNote, at_ms: int | None, rules: VisitsSection, now_ms: int
) -> str | None:
    """Somebody is there. A start that nobody can date is taken for one of now."""
    began_ms = now_ms if at_ms is None else at_ms
    if began_ms < now_ms - LONGEST_MS:
        return LATE
    person = wearer_of(trust)
    running = running_visit(connection, person)
    if running is not None:
        visit = get_visit(connection, running)
        if note.visit not in (0, running):
            return UNKNOWN
        visit.contact_ms = max(visit.contact_ms or 0, began_ms)
        return _done(connection, visit, "started again", _late(began_ms, now_ms), rules, now_ms)
    named = _named(connection, trust, note.visit) if note.visit else None
    if named is not None and named.state == ENDED:
        if began_ms <= (named.ended_ms or 0):
            return LATE
        named = None
    visit = named or _own(trust, person, note, rules, now_ms)
    visit.device = trust.name
    if note.minutes:
        visit.expected_ms = note.minutes * MINUTE_MS
    begin(visit, began_ms, rules)
    watch_device(connection, visit, rules)
    if named is None:
        visit.team = team_of(connection, person)
        enter_visit(connection, visit, rules, now_ms)
    return _done(connection, visit, "started", _late(began_ms, now_ms), rules, now_ms)


def _named(connection: sa.Connection, trust: Trust, number: int) -> Visit | None:
    """The visit that a device's word is about: of its wearer, or one that it was worn on."""
    if not number:
        found = running_visit(connection, wearer_of(trust))
        if found is None:
            return None
        number = found
    try:
        visit = get_visit(connection, number)
    except NoSuchVisit:
        return None
    return visit if trust.name == visit.device or visit.person == wearer_of(trust) else None


def _adopt(connection: sa.Connection, trust: Trust, visit: Visit, rules: VisitsSection, now_ms: int) -> None:
    """Its person speaks by another device than it knows of, or by the first: that one is watched from now on."""
    if visit.device != trust.name and visit.person == wearer_of(trust):
        visit.device, visit.beat_ms = trust.name, now_ms
        watch_device(connection, visit, rules)


def _own(trust: Trust, person: str, note: VisitNote, rules: VisitsSection, now_ms: int) -> Visit:
    minutes = note.minutes or rules.default_expected_min
    return Visit(
        id=0,
        person=person,
        team="",
        device=trust.name,
        place=PLACE_NOT_SAID,
        purpose="",
        present="",
        risk="",
        buddy="",
        state=PLANNED,
        planned_ms=None,
        expected_ms=minutes * MINUTE_MS,
        check_in_ms=0,
        made_by=DEVICE_NAME,
        made_ms=now_ms,
    )


def _done(
    connection: sa.Connection, visit: Visit, step: str, detail: str, rules: VisitsSection, now_ms: int
) -> str | None:
    visit.untold = True
    note_visit(connection, visit, step, DEVICE_NAME, detail.strip(), now_ms)
    if step != "started":
        note_in_alarms(connection, visit, f"{visit.person}: {step}{detail}, by the device", now_ms)
    save_visit(connection, visit, rules, now_ms)
    return None


def _late(at_ms: int, now_ms: int, counts: bool = True) -> str:
    minutes = (now_ms - at_ms) // MINUTE_MS
    late = f" ({minutes} min before it arrived)" if minutes else ""
    return late if counts else f"{late} too late to count"
