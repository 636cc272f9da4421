"""The API of accounts: who I am, users and their roles, sessions. See `api` for the rules of all of it.

Passwords, authenticators and tokens are no matter of the API: only their owner sees them, on pages (`pages.account`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Path, Response

from lapel_gateway.accounts import users
from lapel_gateway.accounts.audit import note
from lapel_gateway.accounts.permissions import Permission
from lapel_gateway.accounts.principal import Principal
from lapel_gateway.accounts.sessions import end_session, list_sessions
from lapel_gateway.accounts.setup_links import SETUP_PATH, make_link
from lapel_gateway.accounts.users import NoSuchUser, User, UserError
from lapel_gateway.describe import moment
from lapel_gateway.ledger import reading, writing
from lapel_gateway.web.access import may
from lapel_gateway.web.guard import Guard
from lapel_gateway.web.models import users as models
from lapel_gateway.web.problems import Problem

MAX_ROWS = 500
LARGEST_NUMBER = (1 << 53) - 1

Number = Annotated[int, Path(ge=1, le=LARGEST_NUMBER)]
Anybody = Annotated[Principal, Depends(may(Permission.OWN_ACCOUNT))]
Operator = Annotated[Principal, Depends(may(Permission.KEEP_USERS))]


def install(app: FastAPI, guard: Guard) -> None:
    """Add the routes to ``app``."""
    engine, now_ms = guard.engine, guard.now_ms

    @app.get("/api/v1/me", response_model=models.Me)
    def me(user: Annotated[Principal, Depends(may())]) -> dict[str, Any]:
        return {
            "name": user.name,
            "roles": list(user.roles),
            "permissions": sorted(user.permissions),
            "how": user.how,
        }

    @app.get("/api/v1/users", response_model=models.Users)
    def list_users(user: Operator) -> dict[str, Any]:
        return {"users": [_user_words(one) for one in users.list_users(engine)]}

    @app.post("/api/v1/users", status_code=HTTPStatus.CREATED, response_model=models.UserWithLink)
    def add_user(new: models.NewUser, user: Operator) -> dict[str, Any]:
        with _refused():
            made = users.add_user(engine, new.name, new.roles, user.actor, now_ms())
            return {**_user_words(made), "setup_link": _link(made.name, user)}

    @app.put("/api/v1/users/{name}/roles", response_model=models.UserShape)
    def set_roles(name: str, new: models.NewRoles, user: Operator) -> dict[str, Any]:
        with _refused():
            return _user_words(users.set_roles(engine, name, new.roles, user.actor, now_ms()))

    @app.post("/api/v1/users/{name}/setup-link", response_model=models.UserWithLink)
    def make_setup_link(name: str, new: models.NewLink, user: Operator) -> dict[str, Any]:
        with _refused():
            link = _link(name, user, new_authenticator=new.new_authenticator)
            return {**_user_words(_find(name)), "setup_link": link}

    @app.post("/api/v1/users/{name}/disable", response_model=models.UserShape)
    def disable_user(name: str, user: Operator) -> dict[str, Any]:
        with _refused():
            users.disable_user(engine, name, user.actor, now_ms())
            return _user_words(_find(name))

    @app.post("/api/v1/users/{name}/enable", response_model=models.UserShape)
    def enable_user(name: str, user: Operator) -> dict[str, Any]:
        with _refused():
            users.enable_user(engine, name, user.actor, now_ms())
            return _user_words(_find(name))

    @app.get("/api/v1/sessions", response_model=models.Sessions)
    def sessions(user: Annotated[Principal, Depends(may(Permission.KEEP_USERS, Permission.OWN_ACCOUNT))]) -> Any:
        found = list_sessions(engine, guard.rules.limits, now_ms(), user.only(Permission.KEEP_USERS))
        return {
            "sessions": [
                {
                    "id": one.id,
                    "user": one.user,
                    "how": one.how,
                    "begun": moment(one.begun_ms),
                    "seen": moment(one.seen_ms),
                    "address": one.address,
                    "agent": one.agent,
                    "this": one.id == user.session,
                }
                for one in found[:MAX_ROWS]
            ]
        }

    @app.delete("/api/v1/sessions/{number}", status_code=HTTPStatus.NO_CONTENT)
    def end(
        number: Number, user: Annotated[Principal, Depends(may(Permission.KEEP_USERS, Permission.OWN_ACCOUNT))]
    ) -> Response:
        with writing(engine) as connection:
            owner = end_session(connection, number, user.only(Permission.KEEP_USERS))
            if owner is None:
                raise Problem(HTTPStatus.NOT_FOUND, "there is no such session")
            note(connection, user.actor, now_ms(), "end session", owner)
        return Response(status_code=HTTPStatus.NO_CONTENT)

    def _find(name: str) -> User:
        with reading(engine) as connection:
            return users.find_user(connection, name)

    def _link(name: str, user: Principal, *, new_authenticator: bool = False) -> str:
        valid_ms = guard.installed.accounts.setup_link_ms
        code = make_link(engine, name, user.actor, now_ms(), valid_ms, new_authenticator=new_authenticator)
        return f"{guard.installed.public_url}{SETUP_PATH}{code}"


@contextmanager
def _refused() -> Iterator[None]:
    """What a core refuses, as a problem with its words."""
    try:
        yield
    except NoSuchUser as error:
        raise Problem(HTTPStatus.NOT_FOUND, str(error)) from None
    except UserError as error:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from None


def _user_words(user: User) -> dict[str, Any]:
    return {
        "name": user.name,
        "roles": list(user.roles),
        "created": moment(user.created_ms),
        "disabled": moment(user.disabled_ms),
        "has_password": user.has_password,
        "has_authenticator": user.has_authenticator,
    }
