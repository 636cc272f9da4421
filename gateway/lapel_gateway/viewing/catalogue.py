"""Finding clips: by time, person, team, device, kind, what was said before them, and words; page by page.

Rules that hold here
- Pages are cut by a place in the order, never by a count: a clip that comes in between moves nothing, and a page of a
  million clips costs what the first one does.
- What somebody may not know of is never found, whatever is looked for.
- Words are looked up first in what there are few of (people, devices, visits, alarms, disclosures), so that no search
  reads every clip.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from lapel_gateway.accounts.permissions import Permission
from lapel_gateway.accounts.principal import Principal
from lapel_gateway.describe import parse_clip_name
from lapel_gateway.ledger.clips import UNFINISHED
from lapel_gateway.ledger.schema import LARGEST, SETTLED_BY_CUT, SETTLED_BY_LOST, alarm, disclosure
from lapel_gateway.ledger.schema import clip as clips
from lapel_gateway.ledger.schema import device as devices
from lapel_gateway.ledger.schema import person as people
from lapel_gateway.ledger.visit_tables import visit as visits
from lapel_protocol.names import NOTICE_NAMES

PAGE = 60

MAX_LOOKED_UP = 100
"""Visits, and disclosures, that words are looked up in: the newest that have them."""

MAX_WORDS = 200

# --- condition: how much of a clip is here ---
WHOLE = "whole"
CUT_SHORT = "cut"
PENDING = "pending"
INCOMPLETE = "incomplete"
SEALED = "sealed"
CONDITIONS = (WHOLE, CUT_SHORT, PENDING, INCOMPLETE, SEALED)

ALARM = "alarm"
PLAIN = "plain"

_CURSOR = re.compile(r"(\d{1,19})\.([0-9a-f]{16})\.(\d{1,10})")
_SEALED_FORM = '%"form": "verified, sealed"%'


class SearchError(Exception):
    """What was asked for cannot be looked for; the message says why."""


@dataclass(frozen=True)
class Wanted:
    """What somebody looks for; what is not said leaves everything in. Unix milliseconds, ``to_ms`` not included."""

    from_ms: int | None = None
    to_ms: int | None = None
    person: str = ""
    team: str = ""
    device: str = ""
    started_by: str = ""
    condition: str = ""
    notice: str = ""
    state: str = ""
    words: str = ""


@dataclass(frozen=True)
class Found:
    """One page of clips, the newest first. ``next``: where the following page begins; "" = there is none."""

    rows: list[sa.RowMapping]
    next: str


def visible(user: Principal) -> sa.ColumnElement[bool]:
    """The clips that somebody may know of."""
    if user.may(Permission.SEE_CLIPS):
        return sa.true()
    own = [clips.c.person == user.name] if user.may(Permission.SEE_OWN) else []
    alarms_too = [clips.c.alarm] if user.may(Permission.SEE_ALARM_CLIPS) else []
    return sa.or_(sa.false(), *own, *alarms_too)


def find_clips(connection: sa.Connection, wanted: Wanted, user: Principal, limit: int = PAGE, after: str = "") -> Found:
    """A page of what somebody looks for and may know of, after the place ``after``. Raises SearchError."""
    order = (clips.c.start_ms, clips.c.device, clips.c.clip)
    query = sa.select(clips).where(visible(user), *_conditions(connection, wanted, user))
    if after:
        query = query.where(sa.tuple_(*order) < sa.tuple_(*map(sa.literal, _place(after))))
    query = query.order_by(*(column.desc() for column in order)).limit(limit + 1)
    rows = list(connection.execute(query).mappings())
    last = rows[limit - 1] if len(rows) > limit else None
    place = "" if last is None else f"{last['start_ms']}.{last['device']}.{last['clip']}"
    return Found(rows[:limit], place)


def one_clip(connection: sa.Connection, name: str, user: Principal) -> sa.RowMapping | None:
    """The clip of an id, if somebody may know of it.

    Whoever may see the clips of alarms is shown the one that ran already when an alarm was raised too, which that alarm
    names. Lists do not have it: the index of alarms' clips knows only those that an alarm began.
    """
    named = parse_clip_name(name)
    if named is None:
        return None
    here = sa.and_(clips.c.device == named[0], clips.c.clip == named[1])
    shown = [visible(user)]
    if user.may(Permission.SEE_ALARM_CLIPS):
        shown.append(sa.exists().where(alarm.c.device == named[0], alarm.c.clip == named[1]))
    query = sa.select(clips).where(here, sa.or_(*shown))
    return connection.execute(query).mappings().one_or_none()


def people_with_clips(connection: sa.Connection) -> list[str]:
    """Everybody whose clips there are, by name; costs grow with the people, not with the clips."""
    first = sa.select(sa.func.min(clips.c.person).label("name")).cte("name", recursive=True)
    following = sa.select(sa.func.min(clips.c.person)).where(clips.c.person > first.c.name).scalar_subquery()
    names = first.union_all(sa.select(following).where(first.c.name.is_not(None)))
    return [name for (name,) in connection.execute(sa.select(names.c.name)) if name]


def condition_of(row: sa.RowMapping) -> str:
    """How much of a clip is here: one of `CONDITIONS`."""
    if row["settled_by"] == SETTLED_BY_LOST or (row["receipt_segments"] or 0) < (_receiptable(row) or 0):
        return INCOMPLETE
    if row["state"] in UNFINISHED:
        return PENDING
    if row["assembly"] and '"form": "verified, sealed"' in row["assembly"]:
        return SEALED
    return CUT_SHORT if row["settled_by"] == SETTLED_BY_CUT else WHOLE


def _receiptable(row: sa.RowMapping) -> int | None:
    return None if row["state"] in UNFINISHED else row["settled_segments"]


def _condition(name: str) -> sa.ColumnElement[bool]:
    """The same as `condition_of`, for the ledger."""
    unfinished = clips.c.state.in_(UNFINISHED)
    lost = sa.func.coalesce(clips.c.settled_by, "") == SETTLED_BY_LOST
    short = sa.func.coalesce(clips.c.receipt_segments, 0) < sa.func.coalesce(clips.c.settled_segments, 0)
    incomplete = sa.or_(lost, sa.and_(sa.not_(unfinished), short))
    sealed = sa.func.coalesce(clips.c.assembly, "").like(_SEALED_FORM)
    cut = sa.func.coalesce(clips.c.settled_by, "") == SETTLED_BY_CUT
    here = sa.and_(sa.not_(unfinished), sa.not_(incomplete))
    return {
        WHOLE: sa.and_(here, sa.not_(sealed), sa.not_(cut)),
        CUT_SHORT: sa.and_(here, sa.not_(sealed), cut),
        PENDING: sa.and_(unfinished, sa.not_(lost)),
        INCOMPLETE: incomplete,
        SEALED: sa.and_(here, sealed),
    }[name]


def _conditions(connection: sa.Connection, wanted: Wanted, user: Principal) -> Iterator[sa.ColumnElement[bool]]:
    if wanted.from_ms is not None:
        yield clips.c.start_ms >= wanted.from_ms
    if wanted.to_ms is not None:
        yield clips.c.start_ms < wanted.to_ms
    if wanted.person:
        yield clips.c.person == wanted.person
    if wanted.team:
        yield clips.c.person.in_(sa.select(people.c.name).where(people.c.team == wanted.team))
    if wanted.device:
        yield clips.c.device.in_(_devices(connection, wanted.device, exact=True))
    if wanted.state:
        yield clips.c.state == wanted.state
    if wanted.started_by:
        _known("kind", wanted.started_by, (ALARM, PLAIN))
        yield clips.c.alarm if wanted.started_by == ALARM else sa.not_(clips.c.alarm)
    if wanted.condition:
        _known("condition", wanted.condition, CONDITIONS)
        yield _condition(wanted.condition)
    if wanted.notice:
        _known("notice", wanted.notice, NOTICE_NAMES[1:])
        yield clips.c.notice == NOTICE_NAMES.index(wanted.notice)
    if words := " ".join(wanted.words.split()):
        if len(words) > MAX_WORDS:
            raise SearchError(f"look for at most {MAX_WORDS} characters")
        yield _of_words(connection, words, user)


def _known(what: str, said: str, words: tuple[str, ...]) -> None:
    if said not in words:
        raise SearchError(f"the {what} is one of {', '.join(words)}")


def _of_words(connection: sa.Connection, words: str, user: Principal) -> sa.ColumnElement[bool]:
    """Clips that have something to do with these words."""
    named = words.casefold()
    persons = [name for name in people_with_clips(connection) if named in name.casefold()]
    pairs: set[tuple[str, int]] = set()
    if (clip := parse_clip_name(words.lower())) is not None:
        pairs.add(clip)
    pairs |= _pairs(connection, sa.select(alarm.c.device, alarm.c.clip).where(alarm.c.id == words.lower()))
    if user.may(Permission.SEE_CLIPS):  # nobody else is told who has a clip, not by a search either
        told = sa.or_(_has(disclosure.c.reference, words), _has(disclosure.c.recipient, words))
        passed_on = sa.select(disclosure.c.device, disclosure.c.clip).where(told)
        pairs |= _pairs(connection, _newest(passed_on, disclosure.c.id))
    parts: list[sa.ColumnElement[bool]] = []
    query = _newest(sa.select(visits).where(_has(visits.c.place, words), visits.c.started_ms.is_not(None)), visits.c.id)
    for row in connection.execute(query).mappings().all():
        pairs |= _pairs(connection, sa.select(alarm.c.device, alarm.c.clip).where(alarm.c.visit == row["id"]))
        if row["device"]:
            ended_ms = LARGEST if row["ended_ms"] is None else row["ended_ms"]
            during = clips.c.start_ms.between(row["started_ms"], ended_ms)
            parts.append(sa.and_(clips.c.device == row["device"], during))
    if persons:
        parts.append(clips.c.person.in_(persons))
    if known := _devices(connection, words, exact=False):
        parts.append(clips.c.device.in_(known))
    parts += [sa.and_(clips.c.device == device, clips.c.clip == number) for device, number in sorted(pairs)]
    return sa.or_(sa.false(), *parts)


def _pairs(connection: sa.Connection, query: sa.Select[Any]) -> set[tuple[str, int]]:
    return {(device, number) for device, number in connection.execute(query) if device and number is not None}


def _newest(query: sa.Select[Any], number: sa.ColumnElement[Any]) -> sa.Select[Any]:
    return query.order_by(number.desc()).limit(MAX_LOOKED_UP)


def _has(column: sa.ColumnElement[Any], words: str) -> sa.ColumnElement[bool]:
    return column.icontains(words, autoescape=True)


def _devices(connection: sa.Connection, words: str, *, exact: bool) -> list[str]:
    """The devices that are named so, by id or by what is printed on them; parts of either where not ``exact``."""
    said = words.casefold()
    found = []
    for device, name in connection.execute(sa.select(devices.c.device, devices.c.name)):
        fits = said in (device, name.casefold()) if exact else device.startswith(said) or said in name.casefold()
        if fits:
            found.append(device)
    return found


def _place(text: str) -> tuple[int, str, int]:
    found = _CURSOR.fullmatch(text)
    if found is None or int(found[1]) > LARGEST:
        raise SearchError("that is no place in a list: take `next` from the answer before, as it is")
    return int(found[1]), found[2], int(found[3])
