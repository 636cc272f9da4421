"""Sessions of people who have logged in at a browser.

Rules that hold here
- A session is found by the SHA-256 of a random token of 256 bits, which only the browser's cookie holds.
- It ends after a time without requests, after a time in all, when it is ended, and with every change of its user's
  password or standing. An ended session is gone: its row is deleted, what it did is in the audit log.
- Between the password and the code it is at a stage of its own, and lets nobody do anything else; each stage has a new
  token, so that a token from before a log-in is worth nothing after it.
- A browser that has logged in keeps a second cookie, which lets nobody in: it only says that it is no stranger.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import sqlalchemy as sa

from lapel_gateway.accounts.rules import Limits
from lapel_gateway.accounts.seal import MAX_SECRET_CHARACTERS, digest, new_secret
from lapel_gateway.ledger import reading, writing
from lapel_gateway.ledger.account_tables import known_browser
from lapel_gateway.ledger.account_tables import session as session_table
from lapel_gateway.ledger.account_tables import user as user_table
from lapel_gateway.log import printable

Stage = Literal["code", "enrol", "open"]

HALF_MS = 10 * 60_000
"""How long somebody may take between the password and the code."""

SEEN_MS = 60_000
"""How exactly the time of the last request is kept: a page that asks every second writes once a minute."""

KNOWN_MS = 180 * 24 * 3_600_000
"""How long a browser is known."""

MAX_SESSIONS = 20
"""Of one user; the oldest ends when there would be more."""


@dataclass(frozen=True)
class Browser:
    """Where a request comes from."""

    address: str
    agent: str = ""
    known: str = ""
    """The cookie that says that it is no stranger."""


@dataclass(frozen=True)
class Session:
    """One session. Times are Unix milliseconds."""

    id: int
    user: str
    stage: Stage
    how: str
    begun_ms: int
    seen_ms: int
    address: str
    agent: str
    fresh_secret: bytes | None
    """Of an authenticator that is being set up."""


def begin_session(connection: sa.Connection, user: str, stage: Stage, how: str, browser: Browser, now_ms: int) -> str:
    """A new session; returns its token. ``how``: what the user has proved so far."""
    token, token_hash = new_secret()
    mine = sa.select(session_table.c.id).where(session_table.c.user == user)
    oldest = mine.order_by(session_table.c.id.desc()).offset(MAX_SESSIONS - 1)
    connection.execute(sa.delete(session_table).where(session_table.c.id.in_(oldest)))
    values = {"token_hash": token_hash, "user": user, "stage": stage, "how": how, "begun_ms": now_ms, "tries": 0}
    values |= {"seen_ms": now_ms, "address": printable(browser.address, 64), "agent": printable(browser.agent, 200)}
    connection.execute(sa.insert(session_table).values(values))
    return token


def find_session(engine: sa.Engine, token: str, limits: Limits, now_ms: int) -> Session | None:
    """The session of this token, as long as it lasts and its user is not disabled. Takes note of being used."""
    if not token or len(token) > MAX_SECRET_CHARACTERS:
        return None
    query = sa.select(session_table).join(user_table, user_table.c.name == session_table.c.user)
    query = query.where(session_table.c.token_hash == digest(token), user_table.c.disabled_ms.is_(None))
    with reading(engine) as connection:
        row = connection.execute(query).one_or_none()
    if row is None:
        return None
    if _is_over(row, limits, now_ms):
        with writing(engine) as connection:
            connection.execute(sa.delete(session_table).where(session_table.c.id == row.id))
        return None
    if abs(now_ms - row.seen_ms) >= SEEN_MS:
        with writing(engine) as connection:
            connection.execute(sa.update(session_table).where(session_table.c.id == row.id).values(seen_ms=now_ms))
    return _session(row)


def list_sessions(engine: sa.Engine, limits: Limits, now_ms: int, user: str | None = None) -> list[Session]:
    """The sessions that last, of one user or of all, the newest first."""
    query = sa.select(session_table).where(session_table.c.stage == "open").order_by(session_table.c.id.desc())
    if user is not None:
        query = query.where(session_table.c.user == user)
    with reading(engine) as connection:
        return [_session(row) for row in connection.execute(query) if not _is_over(row, limits, now_ms)]


def end_session(connection: sa.Connection, number: int, user: str | None = None) -> str | None:
    """End a session, of ``user`` where one is named; returns whose it was, None where there was none."""
    here = [session_table.c.id == number, *([] if user is None else [session_table.c.user == user])]
    owner = connection.execute(sa.select(session_table.c.user).where(*here)).scalar_one_or_none()
    if owner is not None:
        connection.execute(sa.delete(session_table).where(*here))
    return owner


def end_sessions(connection: sa.Connection, user: str, but: int | None = None) -> int:
    """End all of a user's sessions, but one; returns how many."""
    here = sa.delete(session_table).where(session_table.c.user == user)
    return connection.execute(here if but is None else here.where(session_table.c.id != but)).rowcount


def forget_old(connection: sa.Connection, limits: Limits, now_ms: int) -> None:
    """Delete the rows of sessions and of known browsers whose time is over."""
    connection.execute(sa.delete(session_table).where(session_table.c.begun_ms <= now_ms - limits.absolute_ms))
    connection.execute(sa.delete(known_browser).where(known_browser.c.made_ms <= now_ms - KNOWN_MS))


def know_browser(connection: sa.Connection, user: str, now_ms: int) -> str:
    """Remember that this user has logged in from a browser; returns the cookie that says so."""
    cookie, cookie_hash = new_secret()
    connection.execute(sa.insert(known_browser).values(token_hash=cookie_hash, user=user, made_ms=now_ms))
    return cookie


def known_to(engine: sa.Engine, browser: Browser, user: str, now_ms: int) -> bytes | None:
    """The hash of the browser's cookie if this user has logged in from it; else None."""
    if not browser.known or len(browser.known) > MAX_SECRET_CHARACTERS:
        return None
    cookie_hash = digest(browser.known)
    mine = (known_browser.c.token_hash == cookie_hash, known_browser.c.user == user)
    with reading(engine) as connection:
        made_ms = connection.execute(sa.select(known_browser.c.made_ms).where(*mine)).scalar_one_or_none()
    return cookie_hash if made_ms is not None and now_ms - made_ms < KNOWN_MS else None


def _is_over(row: sa.Row[tuple[object, ...]], limits: Limits, now_ms: int) -> bool:
    if row.stage != "open":
        return bool(now_ms - row.begun_ms >= HALF_MS)
    return bool(now_ms - row.begun_ms >= limits.absolute_ms or now_ms - row.seen_ms >= limits.idle_ms + SEEN_MS)


def _session(row: sa.Row[tuple[object, ...]]) -> Session:
    return Session(
        row.id,
        row.user,
        row.stage,
        row.how,
        row.begun_ms,
        row.seen_ms,
        row.address,
        row.agent,
        row.fresh_secret,
    )
