"""Tokens of the API, for programs and command lines: named, with scopes and an end.

Rules that hold here
- A token is 32 random bytes, shown once when it is made; the ledger holds its SHA-256 only.
- It lets do what its user's roles give, as far as its scopes reach: a user who loses a role loses it here too.
- It is good until its end, until it is revoked, and while its user is not disabled.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import sqlalchemy as sa

from lapel_gateway.accounts.audit import Actor, note
from lapel_gateway.accounts.permissions import Permission, parse_scopes, permissions_of
from lapel_gateway.accounts.principal import Principal
from lapel_gateway.accounts.seal import MAX_SECRET_CHARACTERS, digest, new_secret
from lapel_gateway.accounts.users import UserError, find_user, roles_of
from lapel_gateway.ledger import reading, writing
from lapel_gateway.ledger.account_tables import api_token
from lapel_gateway.ledger.account_tables import user as user_table

TOKEN_PREFIX = "lapel_"
"""Makes a leaked token recognisable to people and to secret scanners."""

MAX_TOKEN_NAME = 64
MAX_TOKENS = 50
"""Of one user, that are good."""

USED_MS = 5 * 60_000
"""How exactly the time of the last use is kept."""

DAY_MS = 24 * 3_600_000
MAX_DAYS = 3650


@dataclass(frozen=True)
class Token:
    """One token, without its secret. Times are Unix milliseconds; None = never."""

    id: int
    user: str
    name: str
    scopes: tuple[str, ...] | None
    """Permissions; None = whatever the user's roles give."""
    made_ms: int
    expires_ms: int | None
    used_ms: int | None
    ended_ms: int | None


def add_token(
    engine: sa.Engine,
    user: str,
    name: str,
    by: Actor,
    now_ms: int,
    scopes: Iterable[str] | None = None,
    days: int | None = None,
) -> str:
    """Make a token that is good for ``days``, None = until it is revoked, and return it: it cannot be shown again.

    Raises UserError for an unknown or disabled user, a name that is taken, a scope that there is not or that the
    user's roles do not give.
    """
    name = " ".join(name.split())
    if not name or not name.isprintable() or len(name) > MAX_TOKEN_NAME:
        raise UserError(f"a token's name is 1 to {MAX_TOKEN_NAME} printable characters: say what it is for")
    if days is not None and not 1 <= days <= MAX_DAYS:
        raise UserError(f"a token is good for 1 to {MAX_DAYS} days")
    token, token_hash = new_secret(TOKEN_PREFIX)
    with writing(engine) as connection:
        owner = find_user(connection, user)
        if owner.disabled_ms is not None:
            raise UserError(f"user {user} is disabled: lapel user enable {user!r}")
        wanted = None if scopes is None else _checked_scopes(scopes, owner.roles)
        good = _good(now_ms, api_token.c.user == user)
        names = list(connection.execute(sa.select(api_token.c.name).where(*good)).scalars())
        if name in names:
            raise UserError(f"{user} has a token {name!r}: revoke it first, or take another name")
        if len(names) >= MAX_TOKENS:
            raise UserError(f"{user} has {MAX_TOKENS} tokens: revoke those that nobody uses")
        values = {"token_hash": token_hash, "user": user, "name": name, "made_ms": now_ms}
        values |= {
            "scopes": None if wanted is None else " ".join(wanted),
            "expires_ms": None if days is None else now_ms + days * DAY_MS,
        }
        connection.execute(sa.insert(api_token).values(values))
        note(
            connection, by, now_ms, "add token", user, detail=f"{name}: {'all' if wanted is None else values['scopes']}"
        )
    return token


def revoke_token(engine: sa.Engine, user: str, name: str, by: Actor, now_ms: int) -> None:
    """End a user's token by its name. Raises UserError where there is none that is good."""
    with writing(engine) as connection:
        good = _good(now_ms, api_token.c.user == user, api_token.c.name == name)
        if not connection.execute(sa.update(api_token).where(*good).values(ended_ms=now_ms)).rowcount:
            raise UserError(f"{user} has no token {name!r} that is good; lapel user token list shows those there are")
        note(connection, by, now_ms, "revoke token", user, detail=name)


def list_tokens(engine: sa.Engine, user: str | None = None) -> list[Token]:
    """Every token, ended ones included, of one user or of all, oldest first."""
    query = sa.select(api_token).order_by(api_token.c.id)
    if user is not None:
        query = query.where(api_token.c.user == user)
    with reading(engine) as connection:
        return [_token(row) for row in connection.execute(query)]


def principal_of_token(engine: sa.Engine, token: str, address: str, now_ms: int) -> Principal | None:
    """Who presents this token; None for a token that nobody has, or that is not good any more. Notes its use.

    Looking a hash up tells by its time nothing that helps to guess 256 random bits.
    """
    if len(token) > MAX_SECRET_CHARACTERS:
        return None
    query = sa.select(api_token).join(user_table, user_table.c.name == api_token.c.user)
    good = _good(now_ms, api_token.c.token_hash == digest(token), user_table.c.disabled_ms.is_(None))
    with reading(engine) as connection:
        row = connection.execute(query.where(*good)).one_or_none()
        if row is None:
            return None
        roles = roles_of(connection, row.user)
    if row.used_ms is None or abs(now_ms - row.used_ms) >= USED_MS:
        with writing(engine) as connection:
            connection.execute(sa.update(api_token).where(api_token.c.id == row.id).values(used_ms=now_ms))
    scopes = parse_scopes(row.scopes)
    permissions = permissions_of(roles)
    return Principal(row.user, tuple(roles), permissions if scopes is None else permissions & scopes, "token", address)


def _good(now_ms: int, *more: sa.ColumnElement[bool]) -> list[sa.ColumnElement[bool]]:
    lasting = sa.or_(api_token.c.expires_ms.is_(None), api_token.c.expires_ms > now_ms)
    return [api_token.c.ended_ms.is_(None), lasting, *more]


def _token(row: sa.Row[tuple[object, ...]]) -> Token:
    scopes = None if row.scopes is None else tuple(row.scopes.split())
    return Token(row.id, row.user, row.name, scopes, row.made_ms, row.expires_ms, row.used_ms, row.ended_ms)


def _checked_scopes(scopes: Iterable[str], roles: Iterable[str]) -> list[str]:
    wanted, given = sorted(set(scopes)), permissions_of(roles)
    unknown = [scope for scope in wanted if scope not in {str(one) for one in Permission}]
    if unknown:
        raise UserError(f"there is no permission {', '.join(map(repr, unknown))}; there are {', '.join(Permission)}")
    missing = [scope for scope in wanted if Permission(scope) not in given]
    if missing:
        raise UserError(f"this user's roles do not give {', '.join(missing)}")
    if not wanted:
        raise UserError("a token without a permission is good for nothing: name one or more")
    return wanted
