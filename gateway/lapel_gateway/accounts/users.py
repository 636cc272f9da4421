"""The people who may use the gateway: named users with roles.

Rules that hold here
- A name is used once, for ever: acknowledgements in the ledger name their user, and must not come to mean another.
- A disabled user's sessions end at once, and none of their tokens, links or passwords is taken.
- Every change names who made it, in the audit log, in the same transaction.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import sqlalchemy as sa

from lapel_gateway.accounts.audit import Actor, note
from lapel_gateway.accounts.permissions import ROLE_NAMES, Permission, permissions_of
from lapel_gateway.ledger import reading, writing
from lapel_gateway.ledger.account_tables import session, setup_link, user_role
from lapel_gateway.ledger.account_tables import user as user_table
from lapel_protocol.limits import MAX_NAME_BYTES


class UserError(Exception):
    """The request about a user cannot be met; the message says why and what to do."""


class NoSuchUser(UserError):
    """Nobody has that name."""


@dataclass(frozen=True)
class User:
    """One person. Times are Unix milliseconds; ``disabled_ms`` is None while the user may log in."""

    name: str
    roles: tuple[str, ...]
    created_ms: int
    disabled_ms: int | None
    has_password: bool = False
    has_authenticator: bool = False


def add_user(engine: sa.Engine, name: str, roles: Iterable[str], by: Actor, now_ms: int) -> User:
    """Add a user, who cannot log in before a set-up link was used or a token was made.

    Raises UserError for a name that is not acceptable or was used before, and for roles that there are not.
    """
    name, wanted = checked_name(name), _checked_roles(roles)
    with writing(engine) as connection:
        row = connection.execute(sa.select(user_table).where(user_table.c.name == name)).one_or_none()
        if row is not None:
            was = "was disabled: names are not given to somebody else" if row.disabled_ms else "exists"
            raise UserError(f"user {name} {was}; for the same person again: lapel user setup {name!r}")
        insert_user(connection, name, wanted, now_ms)
        note(connection, by, now_ms, "add user", name, detail=" ".join(wanted))
    return User(name, wanted, now_ms, None)


def insert_user(connection: sa.Connection, name: str, roles: Iterable[str], now_ms: int) -> None:
    """Put a user and the roles into the ledger."""
    connection.execute(sa.insert(user_table).values(name=name, created_ms=now_ms))
    for role in roles:
        connection.execute(sa.insert(user_role).values(user=name, role=role))


def set_roles(engine: sa.Engine, name: str, roles: Iterable[str], by: Actor, now_ms: int) -> User:
    """Give a user these roles and no others, which holds from the next request on. Raises UserError."""
    wanted = _checked_roles(roles)
    with writing(engine) as connection:
        before = find_user(connection, name)
        replace_roles(connection, name, wanted)
        detail = f"{' '.join(before.roles) or 'none'} -> {' '.join(wanted)}"
        note(connection, by, now_ms, "set roles", name, detail=detail)
        return find_user(connection, name)


def replace_roles(connection: sa.Connection, name: str, roles: Iterable[str]) -> None:
    """Let a user have these roles and no others."""
    connection.execute(sa.delete(user_role).where(user_role.c.user == name))
    for role in roles:
        connection.execute(sa.insert(user_role).values(user=name, role=role))


def disable_user(engine: sa.Engine, name: str, by: Actor, now_ms: int) -> None:
    """Let a user in no more, and end every session. What the user did stays. Raises UserError for an unknown name."""
    with writing(engine) as connection:
        find_user(connection, name)
        change = sa.update(user_table).where(user_table.c.name == name, user_table.c.disabled_ms.is_(None))
        connection.execute(change.values(disabled_ms=now_ms))
        connection.execute(sa.delete(session).where(session.c.user == name))
        connection.execute(sa.delete(setup_link).where(setup_link.c.user == name))
        note(connection, by, now_ms, "disable user", name)


def enable_user(engine: sa.Engine, name: str, by: Actor, now_ms: int) -> None:
    """Let the same person in again, with the password and tokens from before. Raises UserError for an unknown name."""
    with writing(engine) as connection:
        find_user(connection, name)
        connection.execute(sa.update(user_table).where(user_table.c.name == name).values(disabled_ms=None))
        note(connection, by, now_ms, "enable user", name)


def list_users(engine: sa.Engine) -> list[User]:
    """Every user, disabled ones included, by name."""
    with reading(engine) as connection:
        roles: dict[str, list[str]] = {}
        for row in connection.execute(sa.select(user_role).order_by(user_role.c.role)):
            roles.setdefault(row.user, []).append(row.role)
        rows = connection.execute(sa.select(user_table).order_by(user_table.c.name))
        return [_user(row, roles.get(row.name, [])) for row in rows]


def find_user(connection: sa.Connection, name: str) -> User:
    """The user of this name. Raises NoSuchUser."""
    row = connection.execute(sa.select(user_table).where(user_table.c.name == name)).one_or_none()
    if row is None:
        raise NoSuchUser(f"there is no user {name!r}; lapel user list shows those there are")
    return _user(row, roles_of(connection, name))


def roles_of(connection: sa.Connection, name: str) -> list[str]:
    """The roles of a user, by name."""
    query = sa.select(user_role.c.role).where(user_role.c.user == name).order_by(user_role.c.role)
    return list(connection.execute(query).scalars())


def holds(engine: sa.Engine, name: str, permission: Permission) -> bool:
    """Whether there is a user of this name, not disabled, whose roles give the permission."""
    here = sa.select(user_table.c.name).where(user_table.c.name == name, user_table.c.disabled_ms.is_(None))
    with reading(engine) as connection:
        if connection.execute(here).one_or_none() is None:
            return False
        return permission in permissions_of(roles_of(connection, name))


def plain_name(name: str) -> str:
    """A name as it is kept: what is typed with other spaces is the same."""
    return " ".join(name.split())


def _user(row: sa.Row[tuple[object, ...]], roles: Iterable[str]) -> User:
    return User(
        row.name,
        tuple(roles),
        row.created_ms,
        row.disabled_ms,
        row.password_hash is not None,
        row.code_secret is not None,
    )


def checked_name(name: str) -> str:
    """A name as it is kept. Raises UserError for one that is not acceptable."""
    name = plain_name(name)
    if not name or not name.isprintable() or len(name.encode("utf-8", "surrogatepass")) > MAX_NAME_BYTES:
        raise UserError(
            f"a user's name is 1 to {MAX_NAME_BYTES} bytes of printable text: devices show who answered their alarm"
        )
    return name


def _checked_roles(roles: Iterable[str]) -> tuple[str, ...]:
    wanted = tuple(sorted(set(roles)))
    unknown = [role for role in wanted if role not in ROLE_NAMES]
    if unknown or not wanted:
        what = f"there is no role {', '.join(map(repr, unknown))}" if unknown else "a user has one role or more"
        raise UserError(f"{what}; roles are {', '.join(ROLE_NAMES)}")
    return wanted
