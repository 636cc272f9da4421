"""Users, their sessions and the audit log in answers; and what is asked about them."""

from __future__ import annotations

from lapel_gateway.accounts.permissions import Permission, RoleName
from lapel_gateway.web.models.shapes import Moment, Shape


class Me(Shape):
    """Whoever asks."""

    name: str
    roles: list[str]
    permissions: list[Permission]
    how: str


class UserShape(Shape):
    """A user."""

    name: str
    roles: list[str]
    created: Moment
    disabled: Moment | None
    has_password: bool
    has_authenticator: bool


class Users(Shape):
    """By name."""

    users: list[UserShape]


class UserWithLink(UserShape):
    """A user, with the link to give to them; it is shown this once."""

    setup_link: str


class SessionShape(Shape):
    """Somebody who is logged in."""

    id: int
    user: str
    how: str
    begun: Moment
    seen: Moment
    address: str
    agent: str
    this: bool


class Sessions(Shape):
    """The newest first."""

    sessions: list[SessionShape]


class AuditLine(Shape):
    """One line of the audit log."""

    id: int
    at: Moment
    who: str
    how: str
    what: str
    about: str
    outcome: str
    detail: str
    address: str


class Audit(Shape):
    """The newest first."""

    lines: list[AuditLine]


class NewUser(Shape):
    """A user to add."""

    name: str
    roles: list[RoleName]


class NewRoles(Shape):
    """The roles that a user is to have, and no others."""

    roles: list[RoleName]


class NewLink(Shape):
    """A set-up link to make."""

    new_authenticator: bool = False
