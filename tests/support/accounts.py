"""Users for tests that are about something else."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa

from lapel_gateway.accounts.audit import Actor
from lapel_gateway.accounts.permissions import ROLE_NAMES
from lapel_gateway.accounts.tokens import add_token
from lapel_gateway.accounts.users import add_user, list_users

BY = Actor("Olive Operator", "session", "192.0.2.1")


def token_of(engine: sa.Engine, name: str, now_ms: int, roles: Iterable[str] = ROLE_NAMES) -> str:
    """A token of a user, who is added where there is none of that name; by default one who may do everything."""
    known = [user.name for user in list_users(engine)]
    if name not in known:
        add_user(engine, name, roles, BY, now_ms)
    return add_token(engine, name, f"token {now_ms} {len(known)}", BY, now_ms)
