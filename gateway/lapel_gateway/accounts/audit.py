"""The audit log: who did what, to what, from where, and who was refused.

Rules that hold here
- A line is committed together with what it tells of, or before it; lines are never changed or removed (triggers).
- A name that nobody has is not written down: people type passwords where the name goes.
- What comes from outside is made printable and capped.
"""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from dataclasses import dataclass

import sqlalchemy as sa

from lapel_gateway.ledger.account_tables import audit as audit_table
from lapel_gateway.log import printable

# --- outcome ---
DONE = "done"
ALLOWED = "allowed"
REFUSED = "refused"

OUTCOMES = (DONE, ALLOWED, REFUSED)

MAX_TEXT = 300
"""Characters of what a line is about, and of its detail."""


@dataclass(frozen=True)
class Actor:
    """Who is behind something: a user's name, "" where nobody is known."""

    name: str
    how: str
    """session, token, link, log-in or command."""
    address: str = ""


@dataclass(frozen=True)
class Line:
    """One line of the log. ``at_ms``: Unix milliseconds."""

    id: int
    at_ms: int
    who: str
    how: str
    what: str
    about: str
    outcome: str
    detail: str
    address: str


GATEWAY = Actor("", "gateway")


def command_line() -> Actor:
    """Whoever runs a command on the gateway's own machine: the account of the operating system."""
    try:
        return Actor(printable(getpass.getuser(), 64), "command")
    except (KeyError, OSError):  # an account without a name, as in some containers
        return Actor("", "command")


def note(
    connection: sa.Connection,
    actor: Actor,
    now_ms: int,
    what: str,
    about: str = "",
    outcome: str = DONE,
    detail: str = "",
) -> None:
    """Add a line."""
    values = {"at_ms": now_ms, "who": actor.name, "how": actor.how, "what": what, "outcome": outcome}
    values |= {"about": printable(about, MAX_TEXT), "detail": printable(detail, MAX_TEXT)}
    connection.execute(sa.insert(audit_table).values(address=printable(actor.address, 64), **values))


@dataclass(frozen=True)
class Wanted:
    """Which lines are wanted; None or "" = any. Times are Unix milliseconds, ``to_ms`` is not among them."""

    who: str | None = None
    what: str = ""
    """Part of what was done, in any case, with blanks or underscores between its words."""
    about: str = ""
    """Part of what it was about, or of the detail."""
    outcome: str | None = None
    from_ms: int | None = None
    to_ms: int | None = None


EVERYTHING = Wanted()


def read_lines(
    connection: sa.Connection, limit: int, before: int | None = None, wanted: Wanted = EVERYTHING
) -> list[Line]:
    """The newest ``limit`` lines of those that are wanted, newest first, below a line's number."""
    table = audit_table.c
    query = sa.select(audit_table).order_by(table.id.desc()).limit(limit)
    if before is not None:
        query = query.where(table.id < before)
    if wanted.who is not None:
        query = query.where(table.who == wanted.who)
    if wanted.outcome is not None:
        query = query.where(table.outcome == wanted.outcome)
    if wanted.what:
        query = query.where(sa.func.replace(table.what, "_", " ").icontains(_words(wanted.what), autoescape=True))
    if wanted.about:
        query = query.where(
            sa.or_(
                table.about.icontains(wanted.about, autoescape=True),
                table.detail.icontains(wanted.about, autoescape=True),
            )
        )
    if wanted.from_ms is not None:
        query = query.where(table.at_ms >= wanted.from_ms)
    if wanted.to_ms is not None:
        query = query.where(table.at_ms < wanted.to_ms)
    return list(_lines(connection.execute(query).mappings()))


def _words(text: str) -> str:
    return " ".join(text.replace("_", " ").split())


def _lines(rows: sa.MappingResult) -> Iterator[Line]:
    for row in rows:
        yield Line(**row)
