"""The way to the identity provider and back. See `accounts.provider` for the rules.

The cookie of a log-in under way is sent along when the provider sends the browser back, which is a GET from another
site: it is Lax like the others, and says nothing without our key.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

import structlog
from fastapi import FastAPI, Query, Request, Response

from lapel_gateway.accounts.logins import LogInRefused
from lapel_gateway.accounts.provider import UNDER_WAY_MS, IdentityProvider, ProviderError, user_of
from lapel_gateway.web.pages.frame import PROVIDER_PATH, Pages, next_path

BACK_PATH = PROVIDER_PATH + "/back"
MAX_CHARACTERS = 4000

_log = structlog.get_logger("lapel.web")

Given = Annotated[str, Query(max_length=MAX_CHARACTERS)]


def install(app: FastAPI, pages: Pages, provider: IdentityProvider) -> None:
    """Add the pages to ``app``."""
    guard = pages.guard

    @app.get(PROVIDER_PATH, include_in_schema=False)
    def leave(request: Request, next: Given = "") -> Response:
        try:
            address, kept = provider.begin(next_path(next), guard.now_ms())
        except ProviderError as error:
            return _fault(request, error, HTTPStatus.BAD_GATEWAY)
        response = pages.go(address)
        pages.keep_under_way(response, kept, UNDER_WAY_MS // 1000)
        return response

    @app.get(BACK_PATH, include_in_schema=False)
    def back(request: Request, state: Given = "", code: Given = "", error: Given = "") -> Response:
        kept = request.cookies.get(guard.cookies.under_way, "")
        browser = guard.browser_of(request)
        try:
            if error:
                raise LogInRefused("the identity provider did not let you in")
            vouched, asked = provider.end(kept, state, code, guard.now_ms())
            name = user_of(guard.engine, vouched, browser.address, guard.now_ms())
            done = guard.logins.from_provider(name, browser)
        except LogInRefused as refusal:
            return _fault(request, refusal, HTTPStatus.FORBIDDEN)
        except ProviderError as trouble:
            return _fault(request, trouble, HTTPStatus.BAD_GATEWAY)
        # A page of ours leads on: a redirect would still count as coming from the provider, without the new cookie.
        response = pages.show(request, "on.html", cookie=done.token, next=next_path(asked), name=name)
        pages.keep_session(response, done.token, done.known)
        pages.keep_under_way(response, "", 0)
        return response

    def _fault(request: Request, error: Exception, status: int) -> Response:
        if isinstance(error, ProviderError):
            _log.warning("identity provider", error=str(error))
        text = str(error)
        words = f"{text[:1].upper()}{text[1:]}."
        return pages.show(request, "fault.html", status, title="Log in", words=words)
