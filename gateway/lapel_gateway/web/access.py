"""Who makes a request of the API: a user, by the token that it carries."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import Depends, Header, Request

from lapel_gateway import users
from lapel_gateway.web.problems import Problem


def user_of(request: Request, authorization: Annotated[str, Header()] = "") -> str:
    """Name of the user whose token the request carries. Raises Problem when it carries none that is good."""
    scheme, _, token = authorization.partition(" ")
    name = users.authenticate(request.app.state.engine, token.strip()) if scheme.lower() == "bearer" else None
    if name is None:
        raise Problem(
            HTTPStatus.UNAUTHORIZED,
            "send a user's token as Authorization: Bearer; `lapel user add NAME` makes one",
            {"WWW-Authenticate": "Bearer"},
        )
    return name


User = Annotated[str, Depends(user_of)]
