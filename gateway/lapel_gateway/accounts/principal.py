"""Whoever makes a request: a user, by what, and what they may do with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lapel_gateway.accounts.audit import Actor
from lapel_gateway.accounts.permissions import Permission

How = Literal["session", "token", "link"]


@dataclass(frozen=True)
class Principal:
    """One user, for one request."""

    name: str
    roles: tuple[str, ...]
    permissions: frozenset[Permission]
    """What the roles give, as far as the token's scopes reach."""
    how: How
    address: str = ""
    session: int | None = None
    """Number of the session, where there is one."""

    def may(self, permission: Permission) -> bool:
        """Whether the permission is among them."""
        return permission in self.permissions

    def only(self, everything: Permission) -> str | None:
        """Whose things to show: None = everybody's, for whoever may see ``everything``; else the principal's own."""
        return None if self.may(everything) else self.name

    @property
    def actor(self) -> Actor:
        """For the audit log."""
        return Actor(self.name, self.how, self.address)
