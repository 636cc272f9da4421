"""The people who may act on alarms: named users, each with one token.

Rules that hold here
- A token is 32 random bytes, shown once when it is made; the ledger holds its SHA-256 only. Tokens are random, so a
  slow password hash would add nothing.
- A name is used once, for ever: acknowledgements in the ledger name their user, and must not come to mean another.
- Comparing a presented token takes the same time whichever user it belongs to, and when it belongs to none.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa

from lapel_gateway.ledger import reading, writing
from lapel_gateway.ledger.schema import user as user_table
from lapel_protocol.limits import MAX_NAME_BYTES

TOKEN_PREFIX = "lapel_"
"""Makes a leaked token recognisable to people and to secret scanners."""

TOKEN_BYTES = 32
MAX_TOKEN_CHARACTERS = 256
"""Longer bearer tokens are refused before they are hashed."""


class UserError(Exception):
    """The request about a user cannot be met; the message says why and what to do."""


@dataclass(frozen=True)
class User:
    """One person. Times are Unix milliseconds; ``disabled_ms`` is None while the token is good."""

    name: str
    created_ms: int
    disabled_ms: int | None


def add_user(engine: sa.Engine, name: str, now_ms: int, entropy: Callable[[int], bytes] = secrets.token_bytes) -> str:
    """Add a user and return the token, which is not kept and cannot be shown again.

    Raises UserError for a name that is not acceptable or was used before.
    """
    name = _checked_name(name)
    token, digest = _new_token(entropy)
    with writing(engine) as connection:
        row = connection.execute(sa.select(user_table).where(user_table.c.name == name)).one_or_none()
        if row is not None:
            was = "was revoked: names are not given to somebody else" if row.disabled_ms else "exists"
            raise UserError(f"user {name} {was}; for a new token of the same person: lapel user renew {name!r}")
        connection.execute(sa.insert(user_table).values(name=name, token_hash=digest, created_ms=now_ms))
    return token


def renew_token(engine: sa.Engine, name: str, entropy: Callable[[int], bytes] = secrets.token_bytes) -> str:
    """Give the same person a new token, which ends the old one and any revocation. Raises UserError."""
    token, digest = _new_token(entropy)
    with writing(engine) as connection:
        change = sa.update(user_table).where(user_table.c.name == name).values(token_hash=digest, disabled_ms=None)
        if connection.execute(change).rowcount == 0:
            raise UserError(_unknown(name))
    return token


def revoke_user(engine: sa.Engine, name: str, now_ms: int) -> None:
    """End a user's token. What the user did stays in the ledger. Raises UserError for an unknown name."""
    with writing(engine) as connection:
        if not connection.execute(sa.select(user_table.c.name).where(user_table.c.name == name)).one_or_none():
            raise UserError(_unknown(name))
        change = sa.update(user_table).where(user_table.c.name == name, user_table.c.disabled_ms.is_(None))
        connection.execute(change.values(disabled_ms=now_ms))


def list_users(engine: sa.Engine) -> list[User]:
    """Every user, revoked ones included, by name."""
    with reading(engine) as connection:
        rows = connection.execute(sa.select(user_table).order_by(user_table.c.name))
        return [User(row.name, row.created_ms, row.disabled_ms) for row in rows]


def is_active(engine: sa.Engine, name: str) -> bool:
    """Whether there is a user of this name whose token was not revoked."""
    here = sa.select(user_table.c.name).where(user_table.c.name == name, user_table.c.disabled_ms.is_(None))
    with reading(engine) as connection:
        return connection.execute(here).one_or_none() is not None


def authenticate(engine: sa.Engine, token: str) -> str | None:
    """Name of the user whose token this is; None for a token that nobody has, or that was revoked."""
    if len(token) > MAX_TOKEN_CHARACTERS:
        return None
    digest = _digest(token)
    found: str | None = None
    with reading(engine) as connection:
        active = sa.select(user_table.c.name, user_table.c.token_hash).where(user_table.c.disabled_ms.is_(None))
        for row in connection.execute(active):
            # No early end: the time must not tell how far down the list a match was.
            if hmac.compare_digest(row.token_hash, digest):
                found = row.name
    return found


def _new_token(entropy: Callable[[int], bytes]) -> tuple[str, bytes]:
    token = TOKEN_PREFIX + entropy(TOKEN_BYTES).hex()
    return token, _digest(token)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def _checked_name(name: str) -> str:
    name = " ".join(name.split())
    if not name or not name.isprintable() or len(name.encode()) > MAX_NAME_BYTES:
        raise UserError(
            f"a user's name is 1 to {MAX_NAME_BYTES} bytes of printable text: devices show who answered their alarm"
        )
    return name


def _unknown(name: str) -> str:
    return f"there is no user {name!r}; lapel user list shows those there are"
