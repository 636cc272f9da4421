"""What a trial of the cameras is judged by, as single facts read from the ledger: each of one team, at one time.

Rules that hold here
- A fact is at its device's time where the gateway or NTP had set that clock, else at the time when it came.
- A clip, and what a device notes, is of whoever had the device at that time, and of the team in which that person is
  now. Visits and alarms keep the team that their person was in then.
- A device is in the hands of whom it was handed to, from then until it was taken back; one that was never handed out is
  in the hands of whom it was provisioned for. A day is a date of the zone.
- It was worn on a day on which it was switched on or anything was done with it, in those hands. A device that is left
  switched on for days and not used is worn on the first of them only.
- A clip that continues another, which had to be replaced while it was recorded, is no recording of its own: its length
  is the other's.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, timedelta, tzinfo
from itertools import chain

import sqlalchemy as sa

from lapel_gateway.alarms.kinds import TECHNICAL_KINDS
from lapel_gateway.ledger.schema import (
    DEVICE_LOST,
    EPOCH_BOOT,
    OPENING_UNOPENABLE,
    SETTLED_BY_CUT,
    SETTLED_BY_LOST,
    alarm,
    clip,
    device,
    disclosure,
    epoch,
    event,
    handover,
    self_test,
)
from lapel_gateway.ledger.schema import person as people
from lapel_gateway.reports.period import Period, day_begins_ms, local_day
from lapel_gateway.viewing.disclosures import POLICE
from lapel_gateway.visits.counts import COUNTS, read_counts
from lapel_protocol.clip import NOTICE_CONTINUED
from lapel_protocol.errors import ProtocolError
from lapel_protocol.event import RECORDING_NOTE, STORAGE_NOTE, UPDATE_NOTE
from lapel_protocol.names import NOTICE_NAMES, TRUST_NAMES
from lapel_protocol.report_decoders import decode_recording_note
from lapel_protocol.reports import NOTE_CANCELLED, NOTE_PROMPTED, NOTE_REFUSED
from lapel_protocol.updating import UPDATE_FAILED, UPDATE_ROLLED_BACK, decode_update_note

DAY_MS = 86_400_000
MOST_AHEAD_MS = DAY_MS
"""How far a device's clock may be ahead of the gateway's for what it notes to be counted at its own time."""

Seen = Callable[[str, int], str]

TRUSTED = frozenset({TRUST_NAMES.index("gateway"), TRUST_NAMES.index("ntp")})

DAYS_ISSUED = "days_issued"
DAYS_WORN = "days_worn"
PROMPTS = "prompts"
PROMPTS_WITHOUT_RECORDING = "prompts_without_recording"
RECORDING_MS = "recording_ms"
PASSED_ON = "clips_passed_on"
TO_POLICE = "clips_to_police"
DRILLS = "drills"
RECORDING = "recording_"
"""Begins the names of recordings by how the notice went: ``recording_confirmed``."""

VISITS = "visits_"
FAULT = "fault_"
"""Begins the names of what went wrong with devices: ``fault_self_test``."""


@dataclass(frozen=True, slots=True)
class Fact:
    """`amount` of `what` for a team ("" = none) at a Unix time in ms; a person where people are to be told apart."""

    what: str
    team: str
    at_ms: int
    amount: int = 1
    person: str = ""


def read_teams(connection: sa.Connection) -> dict[str, str]:
    """The team of everybody who is entered, as it is now."""
    return {row.name: row.team for row in connection.execute(sa.select(people.c.name, people.c.team))}


def read_facts(connection: sa.Connection, period: Period, zone: tzinfo | None) -> Iterator[Fact]:
    """Every fact of a period, in no order. Days are those of ``zone``, None = this machine's."""
    teams = read_teams(connection)
    hands = Hands(connection, teams)
    worn: set[tuple[str, date]] = set()

    def seen(name: str, at_ms: int) -> str:
        """Note that a device was used; the team of whoever had it."""
        person = hands.at(name, at_ms)
        if person and period.from_ms <= at_ms < period.to_ms:
            worn.add((person, local_day(at_ms, zone)))
        return hands.team_at(name, at_ms)

    _see_boots(connection, period, seen)
    found = chain(
        _of_clips(connection, period, hands, seen),
        _of_events(connection, period, seen),
        _of_alarms(connection, period),
        _of_devices(connection, period, teams, hands),
        _of_visits(connection, period),
        _of_disclosures(connection, hands),
    )
    yield from (one for one in found if period.from_ms <= one.at_ms < period.to_ms and one.amount)
    for what, days in ((DAYS_ISSUED, hands.days(period, zone)), (DAYS_WORN, worn)):
        for person, day in days:
            # The first moment of a day may lie before a period that begins within it.
            at_ms = max(day_begins_ms(day, zone), period.from_ms)
            yield Fact(what, teams.get(person, ""), at_ms, person=person)


class Hands:
    """In whose hands each device was, and when."""

    def __init__(self, connection: sa.Connection, teams: Mapping[str, str]) -> None:
        self._teams = teams
        self._spans: dict[str, list[tuple[int, int | None, str]]] = defaultdict(list)
        given = sa.select(handover).order_by(handover.c.device, handover.c.issued_ms, handover.c.id)
        for row in connection.execute(given):
            self._spans[row.device].append((row.issued_ms, row.returned_ms, row.person))
        for row in connection.execute(sa.select(device).where(device.c.person != "")):
            if row.device not in self._spans:
                self._spans[row.device].append((row.provisioned_ms, row.ended_ms, row.person))
        self._begins = {name: [span[0] for span in spans] for name, spans in self._spans.items()}

    def at(self, name: str, at_ms: int) -> str:
        """Who had a device at a time; "" for nobody."""
        index = bisect_right(self._begins.get(name, []), at_ms) - 1
        if index < 0:
            return ""
        _, end_ms, person = self._spans[name][index]
        return person if end_ms is None or at_ms < end_ms else ""

    def team_at(self, name: str, at_ms: int) -> str:
        """The present team of whoever had a device at a time; "" for none."""
        return self._teams.get(self.at(name, at_ms), "")

    def days(self, period: Period, zone: tzinfo | None) -> set[tuple[str, date]]:
        """(person, day) of each day of a period on which somebody had a device, for however short a time."""
        found = set()
        for spans in self._spans.values():
            for begin_ms, end_ms, person in spans:
                first_ms = max(begin_ms, period.from_ms)
                last_ms = min(period.to_ms if end_ms is None else end_ms, period.to_ms) - 1
                if first_ms > last_ms:
                    continue
                day, last = local_day(first_ms, zone), local_day(last_ms, zone)
                while day <= last:
                    found.add((person, day))
                    day += timedelta(days=1)
        return found


def _of_clips(connection: sa.Connection, period: Period, hands: Hands, seen: Seen) -> Iterator[Fact]:
    # A clip that is only known to be missing has no header, and counts when it was missed.
    query = sa.select(
        clip.c.device,
        clip.c.boot,
        clip.c.wall_ms,
        clip.c.trust,
        clip.c.first_ms,
        clip.c.notice,
        clip.c.duration_ms,
        clip.c.settled_by,
        clip.c.cut_why,
        clip.c.opening,
    ).where(clip.c.first_ms >= period.from_ms - MOST_AHEAD_MS)
    for row in connection.execute(query):
        at_ms = row.first_ms if row.boot is None else _own_time(row.wall_ms, row.trust, row.first_ms)
        if row.boot is None:
            yield Fact(FAULT + "clip_missing", hands.team_at(row.device, at_ms), at_ms)
            continue
        team = seen(row.device, at_ms)
        if row.notice != NOTICE_CONTINUED:
            yield Fact(RECORDING + _notice(row.notice), team, at_ms)
        yield Fact(RECORDING_MS, team, at_ms, row.duration_ms or 0)
        if row.settled_by == SETTLED_BY_CUT:
            yield Fact(FAULT + "clip_cut_short", team, at_ms)
        if row.settled_by == SETTLED_BY_LOST:
            yield Fact(FAULT + "clip_lost", team, at_ms)
        if row.opening == OPENING_UNOPENABLE:
            yield Fact(FAULT + "clip_unopenable", team, at_ms)


def _of_events(connection: sa.Connection, period: Period, seen: Seen) -> Iterator[Fact]:
    query = sa.select(
        event.c.device, event.c.kind, event.c.wall_ms, event.c.trust, event.c.received_ms, event.c.payload
    )
    for row in connection.execute(query.where(event.c.received_ms >= period.from_ms - MOST_AHEAD_MS)):
        at_ms = _own_time(row.wall_ms, row.trust, row.received_ms)
        team = seen(row.device, at_ms)
        for what in _noted(row.kind, row.payload):
            yield Fact(what, team, at_ms)


def _noted(kind: int, payload: bytes) -> Iterator[str]:
    """What an event of a device says for a report; nothing where it cannot be read."""
    with suppress(ProtocolError):
        if kind == RECORDING_NOTE:
            note = decode_recording_note(payload)
            if note.what == NOTE_PROMPTED:
                yield PROMPTS
            elif note.what == NOTE_CANCELLED:
                yield PROMPTS_WITHOUT_RECORDING
            elif note.what == NOTE_REFUSED:
                yield FAULT + "recording_refused"
        elif kind == STORAGE_NOTE:
            yield FAULT + "storage"
        elif kind == UPDATE_NOTE and decode_update_note(payload).what in (UPDATE_FAILED, UPDATE_ROLLED_BACK):
            yield FAULT + "update"


def _see_boots(connection: sa.Connection, period: Period, seen: Seen) -> None:
    query = sa.select(epoch.c.device, epoch.c.known_ms).where(
        epoch.c.used_for == EPOCH_BOOT,
        epoch.c.proved,
        epoch.c.known_ms >= period.from_ms,
        epoch.c.known_ms < period.to_ms,
    )
    for row in connection.execute(query):
        seen(row.device, row.known_ms)


def _of_alarms(connection: sa.Connection, period: Period) -> Iterator[Fact]:
    query = sa.select(alarm.c.kind, alarm.c.test, alarm.c.team, alarm.c.received_ms).where(
        alarm.c.received_ms >= period.from_ms, alarm.c.received_ms < period.to_ms
    )
    for row in connection.execute(query):
        if row.test and row.kind not in TECHNICAL_KINDS:
            yield Fact(DRILLS, row.team, row.received_ms)


def _of_devices(connection: sa.Connection, period: Period, teams: Mapping[str, str], hands: Hands) -> Iterator[Fact]:
    failed = sa.select(self_test.c.device, self_test.c.at_ms).where(
        self_test.c.passed.is_(False), self_test.c.at_ms >= period.from_ms, self_test.c.at_ms < period.to_ms
    )
    for row in connection.execute(failed):
        yield Fact(FAULT + "self_test", hands.team_at(row.device or "", row.at_ms), row.at_ms)
    lost = sa.select(device.c.device, device.c.person, device.c.ended_ms).where(device.c.state == DEVICE_LOST)
    for gone in connection.execute(lost.where(device.c.ended_ms.is_not(None))):
        yield Fact(FAULT + "device_lost", teams.get(gone.person, ""), gone.ended_ms)


def _of_visits(connection: sa.Connection, period: Period) -> Iterator[Fact]:
    for one in read_counts(connection, period.from_ms, period.to_ms):
        for name in COUNTS:
            yield Fact(VISITS + name, one.team, one.at_ms, getattr(one, name))


def _of_disclosures(connection: sa.Connection, hands: Hands) -> Iterator[Fact]:
    """A clip counts once for the police, when it was passed on to them first, and once whoever it was passed on to."""
    of_clip = (clip.c.device == disclosure.c.device) & (clip.c.clip == disclosure.c.clip)
    query = sa.select(
        disclosure.c.device,
        disclosure.c.clip,
        clip.c.wall_ms,
        clip.c.trust,
        clip.c.first_ms,
        sa.func.min(disclosure.c.passed_ms).label("passed_ms"),
        sa.func.min(sa.case((disclosure.c.kind == POLICE, disclosure.c.passed_ms))).label("police_ms"),
    ).join(clip, of_clip)
    for row in connection.execute(query.group_by(disclosure.c.device, disclosure.c.clip)):
        at_ms = row.first_ms if row.wall_ms is None else _own_time(row.wall_ms, row.trust, row.first_ms)
        team = hands.team_at(row.device, at_ms)
        yield Fact(PASSED_ON, team, row.passed_ms)
        if row.police_ms is not None:
            yield Fact(TO_POLICE, team, row.police_ms)


def _own_time(wall_ms: int, trust: int, came_ms: int) -> int:
    """The time of something at its device, if that can be believed: a clock that was set, and not ahead of this one."""
    return wall_ms if trust in TRUSTED and wall_ms <= came_ms + MOST_AHEAD_MS else came_ms


def _notice(number: int | None) -> str:
    return NOTICE_NAMES[number] if number is not None and 0 < number < len(NOTICE_NAMES) else "unknown"
