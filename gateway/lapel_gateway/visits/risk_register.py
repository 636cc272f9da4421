"""The risk register: addresses and people with a warning, shown whenever a visit there is planned.

Rules that hold here
- A place is found however it is written: case, accents, punctuation, spaces, usual abbreviations, with or without its
  town where a postcode and the house's number say the same. A postcode alone stands for every house that has it.
- Nothing is guessed beyond that: a register that warns of everything warns of nothing.
- Every entry has an owner and a day by which it has to be looked at again; one that is past it is shown and says so.
- An entry is ended, never deleted by hand: who was warned of what stays answerable.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

import sqlalchemy as sa

from lapel_gateway.ledger import reading, writing
from lapel_gateway.ledger.visit_tables import risk as risks
from lapel_gateway.one_line import one_line
from lapel_gateway.settings.visits import DAY_MS

MAX_PLACE_CHARACTERS = 200
MAX_ABOUT_CHARACTERS = 80
MAX_NOTE_CHARACTERS = 500
MAX_REVIEW_AHEAD_MS = 5 * 366 * DAY_MS

_POSTCODE = re.compile(r"\b([a-z]{1,2}[0-9][a-z0-9]?) ?([0-9][a-z]{2})\b")
"""Of the United Kingdom: other countries' are digits alone and cannot be told from a house's number."""

_WORDS = {
    "st": "street",
    "str": "street",
    "rd": "road",
    "ave": "avenue",
    "av": "avenue",
    "ln": "lane",
    "dr": "drive",
    "ct": "court",
    "cl": "close",
    "cres": "crescent",
    "pl": "place",
    "sq": "square",
    "terr": "terrace",
    "ter": "terrace",
    "gdns": "gardens",
    "gdn": "garden",
    "gr": "grove",
    "hse": "house",
    "bldg": "building",
    "apt": "flat",
    "apartment": "flat",
    "no": "",
}
_TITLES = frozenset({"mr", "mrs", "ms", "miss", "mx", "dr", "prof"})
_BETWEEN = re.compile(r"[,;/&+\n]|\band\b", re.IGNORECASE)


class RiskError(Exception):
    """The request about the risk register cannot be met; the message says why."""


class NoSuchRisk(RiskError):
    """There is no entry of that number."""


@dataclass(frozen=True)
class Risk:
    """One entry. Times are Unix milliseconds; ``overdue`` says that its review is late."""

    id: int
    place: str
    about: str
    note: str
    owner: str
    review_ms: int
    made_ms: int
    ended_ms: int | None
    ended_by: str | None
    overdue: bool


def add_risk(engine: sa.Engine, place: str, about: str, note: str, owner: str, review_ms: int, now_ms: int) -> Risk:
    """Enter a warning about a place, a person ("" = none), or a person at a place. Raises RiskError."""
    place = one_line("a place", place, MAX_PLACE_CHARACTERS, RiskError)
    about = one_line("a person's name", about, MAX_ABOUT_CHARACTERS, RiskError)
    if not (any(place_key(place)) or about_key(about)):
        raise RiskError("an entry is about a place, a person, or both")
    values = {
        "place": place,
        "place_key": place_key(place)[0],
        "postcode": place_key(place)[1],
        "about": about,
        "about_key": about_key(about),
        "note": one_line("a note", note, MAX_NOTE_CHARACTERS, RiskError, needed=True),
        "owner": _owner(owner),
        "review_ms": _review(review_ms, now_ms),
        "made_ms": now_ms,
    }
    with writing(engine) as connection:
        (number,) = connection.execute(sa.insert(risks).values(values)).inserted_primary_key or (0,)
        return get_risk(connection, number, now_ms)


def review_risk(engine: sa.Engine, number: int, review_ms: int, note: str | None, owner: str, now_ms: int) -> Risk:
    """It was looked at by its owner from now on, who may have written another note. Raises RiskError."""
    values: dict[str, object] = {"review_ms": _review(review_ms, now_ms), "owner": _owner(owner)}
    if note is not None:
        values["note"] = one_line("a note", note, MAX_NOTE_CHARACTERS, RiskError, needed=True)
    return _change(engine, number, values, now_ms)


def end_risk(engine: sa.Engine, number: int, who: str, now_ms: int) -> Risk:
    """The warning does not hold any more. Raises RiskError."""
    return _change(engine, number, {"ended_ms": now_ms, "ended_by": who}, now_ms)


def list_risks(engine: sa.Engine, now_ms: int, *, every: bool = False) -> list[Risk]:
    """The entries, those whose review is due first; with ``every`` the ended ones too."""
    query = sa.select(risks).order_by(risks.c.review_ms, risks.c.id)
    if not every:
        query = query.where(risks.c.ended_ms.is_(None))
    with reading(engine) as connection:
        return [_risk(row, now_ms) for row in connection.execute(query)]


def get_risk(connection: sa.Connection, number: int, now_ms: int) -> Risk:
    """One entry. Raises NoSuchRisk."""
    row = connection.execute(sa.select(risks).where(risks.c.id == number)).one_or_none()
    if row is None:
        raise NoSuchRisk(f"there is no entry {number}: `lapel risk list` shows them")
    return _risk(row, now_ms)


def find_risks(connection: sa.Connection, place: str, present: str, now_ms: int) -> list[Risk]:
    """What is known of a place and of those who are expected there, the oldest entry first."""
    key, postcode = place_key(place)
    people = sorted({about_key(name) for name in _BETWEEN.split(present)} - {""})
    about = risks.c.about_key.in_(people)
    there = risks.c.place_key == key if key else sa.false()
    if postcode:
        there = sa.or_(there, risks.c.postcode == postcode)
    query = sa.select(risks).where(risks.c.ended_ms.is_(None), sa.or_(there, about)).order_by(risks.c.id)
    # A person who is known elsewhere is the same person here.
    return [
        _risk(row, now_ms)
        for row in connection.execute(query)
        if row.about_key in people or _same_place(key, postcode, row.place_key, row.postcode)
    ]


def place_key(place: str) -> tuple[str, str]:
    """(a place without what people write differently, its postcode); "" for what it has not."""
    words = _plain(place)
    found = _POSTCODE.search(words)
    postcode = ""
    if found:
        postcode = found[1] + found[2]
        words = words[: found.start()] + words[found.end() :]
    kept = [_WORDS.get(word, word) for word in words.split()]
    return " ".join(word for word in kept if word), postcode


def about_key(name: str) -> str:
    """A person's name without title, case, accents and punctuation."""
    return " ".join(word for word in _plain(name).split() if word not in _TITLES)


def _same_place(key: str, postcode: str, other: str, other_postcode: str) -> bool:
    if postcode and other_postcode:
        # The same words of two streets, or two houses of one postcode.
        return postcode == other_postcode and (not key or not other or key == other or _house(key) == _house(other))
    return bool(key) and key == other


def _house(key: str) -> str:
    """What tells a house from its neighbours: the numbers in its address."""
    return " ".join(word for word in key.split() if any(c.isdigit() for c in word)) or key


def _plain(text: str) -> str:
    # Compatibility forms first: a letter of mathematics has no lower case before it is a letter.
    folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    kept = "".join(" " if not c.isalnum() else c for c in folded if not unicodedata.combining(c) and c not in "'’")
    return " ".join(kept.split())


def _owner(name: str) -> str:
    return one_line("an owner", name, MAX_ABOUT_CHARACTERS, RiskError, needed=True)


def _review(review_ms: int, now_ms: int) -> int:
    if not now_ms < review_ms <= now_ms + MAX_REVIEW_AHEAD_MS:
        raise RiskError("the next review is a day in the coming five years")
    return review_ms


def _change(engine: sa.Engine, number: int, values: dict[str, object], now_ms: int) -> Risk:
    with writing(engine) as connection:
        if get_risk(connection, number, now_ms).ended_ms is not None:
            raise RiskError(f"entry {number} has ended: enter a new one")
        connection.execute(sa.update(risks).where(risks.c.id == number).values(values))
        return get_risk(connection, number, now_ms)


def _risk(row: sa.Row[tuple[object, ...]], now_ms: int) -> Risk:
    values = row._mapping
    kept = {name: values[name] for name in Risk.__dataclass_fields__ if name != "overdue"}
    return Risk(**kept, overdue=values["ended_ms"] is None and values["review_ms"] < now_ms)
