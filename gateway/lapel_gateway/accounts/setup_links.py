"""Set-up links: how a new user, or one who has forgotten the password, sets one that nobody else ever sees.

Rules that hold here
- A link carries 256 random bits, is good once and for some hours, and the newest of a user ends those before.
- Whoever makes it learns no password. Looking at it changes nothing.
- Using it ends the user's sessions. It takes an authenticator away only if it was made to: a lost telephone.
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from lapel_gateway.accounts.audit import Actor, note
from lapel_gateway.accounts.authenticators import remove_authenticator
from lapel_gateway.accounts.passwords import check_password, hash_password
from lapel_gateway.accounts.seal import MAX_SECRET_CHARACTERS, digest, new_secret
from lapel_gateway.accounts.sessions import end_sessions
from lapel_gateway.accounts.users import UserError, find_user
from lapel_gateway.ledger import reading, writing
from lapel_gateway.ledger.account_tables import setup_link
from lapel_gateway.ledger.account_tables import user as user_table

SETUP_PATH = "/setup/"
"""Where a link's code stands in its address."""


class LinkGone(Exception):
    """The link was used, has expired, was followed by a newer one, or is none of this gateway's."""

    def __init__(self) -> None:
        super().__init__("this link was used before, has expired, or is not whole: ask for a new one")


@dataclass(frozen=True)
class SetupLink:
    """Whom a link is for. ``expires_ms``: Unix milliseconds."""

    user: str
    expires_ms: int
    new_authenticator: bool


def make_link(
    engine: sa.Engine, name: str, by: Actor, now_ms: int, valid_ms: int, *, new_authenticator: bool = False
) -> str:
    """The code of a new link for a user; earlier ones end. Raises UserError for an unknown or disabled user."""
    code, code_hash = new_secret()
    with writing(engine) as connection:
        if find_user(connection, name).disabled_ms is not None:
            raise UserError(f"user {name} is disabled: lapel user enable {name!r}")
        connection.execute(sa.delete(setup_link).where(setup_link.c.user == name))
        values = {"code_hash": code_hash, "user": name, "made_ms": now_ms, "expires_ms": now_ms + valid_ms}
        connection.execute(sa.insert(setup_link).values(new_authenticator=new_authenticator, **values))
        detail = "with a new authenticator" if new_authenticator else ""
        note(connection, by, now_ms, "make set-up link", name, detail=detail)
    return code


def read_link(engine: sa.Engine, code: str, now_ms: int) -> SetupLink:
    """Whom a link is for. Raises LinkGone."""
    with reading(engine) as connection:
        return _read(connection, code, now_ms)


def use_link(engine: sa.Engine, code: str, password: str, least: int, address: str, now_ms: int) -> str:
    """Set the password of the user whom the link is for; returns the name.

    Raises LinkGone, and PasswordError for a password that will not do: the link is good for another then.
    """
    check_password(password, read_link(engine, code, now_ms).user, least)
    hashed = hash_password(password)
    with writing(engine) as connection:
        link = _read(connection, code, now_ms)
        connection.execute(sa.delete(setup_link).where(setup_link.c.user == link.user))
        set_password(connection, link.user, hashed, now_ms)
        end_sessions(connection, link.user)
        if link.new_authenticator:
            remove_authenticator(connection, link.user)
        note(connection, Actor(link.user, "link", address), now_ms, "set password", link.user)
    return link.user


def set_password(connection: sa.Connection, name: str, hashed: str, now_ms: int) -> None:
    """Keep a user's new password."""
    change = sa.update(user_table).where(user_table.c.name == name)
    connection.execute(change.values(password_hash=hashed, password_ms=now_ms))


def _read(connection: sa.Connection, code: str, now_ms: int) -> SetupLink:
    if not code or len(code) > MAX_SECRET_CHARACTERS:
        raise LinkGone
    row = connection.execute(sa.select(setup_link).where(setup_link.c.code_hash == digest(code))).one_or_none()
    if row is None or now_ms >= row.expires_ms:
        raise LinkGone
    return SetupLink(row.user, row.expires_ms, row.new_authenticator)
