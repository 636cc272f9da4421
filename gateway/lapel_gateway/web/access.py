"""What a route asks of whoever calls it: every route says so with `may`, and a test holds them all to it.

def list_devices(user: Annotated[Principal, Depends(may(Permission.SEE_DEVICES))]) -> ...
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, FastAPI, Request, Security
from fastapi.routing import APIRoute
from fastapi.security import APIKeyCookie, HTTPAuthorizationCredentials, HTTPBearer

from lapel_gateway.accounts.permissions import Permission
from lapel_gateway.accounts.principal import Principal
from lapel_gateway.web.guard import FORM_FIELD, FORM_HEADER, SAFE_METHODS, Guard

_bearer = HTTPBearer(auto_error=False, description="A token of a user's.")
_cookie = APIKeyCookie(name="lapel-session", auto_error=False, description="A session; changes need X-Form-Token too.")

Dependency = Callable[..., Principal]

_declared: dict[Dependency, tuple[Permission, ...]] = {}


async def said_in_form(request: Request) -> dict[str, str]:
    """The fields of a form as a page sent it, by name; none where what was sent is no form."""
    if not request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        return {}
    return {name: text for name, text in (await request.form()).items() if isinstance(text, str)}


async def given_form_token(request: Request) -> str:
    """The token that our pages put into what they send: a header, or a field of a form."""
    if request.method in SAFE_METHODS:
        return ""
    if (header := request.headers.get(FORM_HEADER)) is not None:
        return header
    return (await said_in_form(request)).get(FORM_FIELD, "")


def may(*any_of: Permission, again: bool = False) -> Dependency:
    """A dependency: the request's principal, who has one of these permissions; without any, whoever is logged in.

    ``again``: it is asked for again and again while somebody looks; the audit log is told that they look, not how
    often.
    """

    def principal_of(
        request: Request,
        given: Annotated[str, Depends(given_form_token)],
        bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
        cookie: Annotated[str | None, Security(_cookie)],
    ) -> Principal:
        return guard_of(request).authorise(request, any_of, given, again=again)

    _declared[principal_of] = any_of
    return principal_of


def guard_of(request: Request) -> Guard:
    """The guard of the application that answers the request."""
    guard: Guard = request.app.state.guard
    return guard


def declared(route: APIRoute) -> tuple[Permission, ...] | None:
    """The permissions that a route declares, any of which is enough; None for one that asks for nothing."""
    for dependant in route.dependant.dependencies:
        if dependant.call in _declared:
            return _declared[dependant.call]
    return None


def routes_of(app: FastAPI) -> list[APIRoute]:
    """Every route of an application that answers requests itself."""
    return [route for route in app.routes if isinstance(route, APIRoute)]
