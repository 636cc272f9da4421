"""The page of one's own account: password, authenticator, sessions, tokens.

Rules that hold here
- It is for people who have logged in: a token sees none of it, so that a leaked one makes no further ones.
- What takes more than a session (password, authenticator) asks for the present password.
- A token and recovery codes are shown once, on the page that answers the form, which no browser keeps (no-store).
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import Depends, FastAPI, Form, Request, Response

from lapel_gateway.accounts.audit import note
from lapel_gateway.accounts.logins import LogInRefused
from lapel_gateway.accounts.passwords import PasswordError
from lapel_gateway.accounts.permissions import Permission
from lapel_gateway.accounts.principal import Principal
from lapel_gateway.accounts.sessions import Session, end_session, end_sessions, list_sessions
from lapel_gateway.accounts.throttle import TooMany
from lapel_gateway.accounts.tokens import add_token, list_tokens, revoke_token
from lapel_gateway.accounts.users import UserError, find_user
from lapel_gateway.ledger import reading, writing
from lapel_gateway.web.access import may
from lapel_gateway.web.pages.frame import ACCOUNT_PATH, HOME_PATH, LOGIN_PATH, Pages, wait_words
from lapel_gateway.web.pages.login import ENROL_PATH
from lapel_gateway.web.problems import Problem

DEFAULT_DAYS = 90

Owner = Annotated[Principal, Depends(may(Permission.OWN_ACCOUNT))]
Field = Annotated[str, Form(max_length=1000)]


def install(app: FastAPI, pages: Pages) -> None:
    """Add the page to ``app``."""
    guard = pages.guard
    engine, logins = guard.engine, guard.logins

    @app.get(HOME_PATH, include_in_schema=False)
    def home(user: Owner) -> Response:
        theirs = pages.sections_of(user)
        return pages.go(theirs[0].path if theirs else ACCOUNT_PATH)

    @app.get(ACCOUNT_PATH, include_in_schema=False)
    def show(request: Request, user: Owner) -> Response:
        return _account(request, user)

    @app.post(ACCOUNT_PATH + "/password", include_in_schema=False)
    def change_password(request: Request, user: Owner, old: Field = "", new: Field = "", again: Field = "") -> Response:
        session = _session(request, user)
        if new != again:
            return _account(request, user, "The two new passwords are not the same.", bad=True)
        try:
            logins.change_password(session, old, new, guard.browser_of(request))
        except (TooMany, LogInRefused, PasswordError) as error:
            return _account(request, user, _words(error), bad=True)
        return _account(request, user, "Your password is changed. Your other sessions have ended.")

    @app.post(ACCOUNT_PATH + "/authenticator", include_in_schema=False)
    def begin_authenticator(request: Request, user: Owner, password: Field = "") -> Response:
        try:
            logins.begin_authenticator(_session(request, user), password, guard.browser_of(request))
        except (TooMany, LogInRefused) as error:
            return _account(request, user, _words(error), bad=True)
        return pages.go(ENROL_PATH)

    @app.post(ACCOUNT_PATH + "/authenticator/remove", include_in_schema=False)
    def remove_authenticator(request: Request, user: Owner, password: Field = "") -> Response:
        try:
            logins.remove_authenticator(_session(request, user), password, guard.browser_of(request))
        except (TooMany, LogInRefused) as error:
            return _account(request, user, _words(error), bad=True)
        return _account(request, user, "You log in without an authenticator from now on.")

    @app.post(ACCOUNT_PATH + "/sessions/end", include_in_schema=False)
    def end(request: Request, user: Owner, number: Annotated[int | None, Form(ge=1, lt=1 << 53)] = None) -> Response:
        session = _session(request, user)
        with writing(engine) as connection:
            if number is None:
                end_sessions(connection, user.name, but=session.id)
            elif end_session(connection, number, user.name) is None:
                raise Problem(HTTPStatus.NOT_FOUND, "that session has ended already")
            note(connection, user.actor, guard.now_ms(), "end session", user.name)
        if number == session.id:
            response = pages.go(LOGIN_PATH)
            pages.drop_session(response)
            return response
        return _account(request, user, "Ended.")

    @app.post(ACCOUNT_PATH + "/tokens", include_in_schema=False)
    def make_token(
        request: Request,
        user: Owner,
        name: Field = "",
        days: Annotated[int, Form(ge=1, le=3650)] = DEFAULT_DAYS,
        scope: Annotated[list[str] | None, Form(max_length=64)] = None,
    ) -> Response:
        _session(request, user)
        try:
            token = add_token(engine, user.name, name, user.actor, guard.now_ms(), scope or [], days)
        except UserError as error:
            return _account(request, user, _words(error), bad=True)
        return _account(request, user, "Your new token is shown this once.", token=token)

    @app.post(ACCOUNT_PATH + "/tokens/revoke", include_in_schema=False)
    def end_token(request: Request, user: Owner, name: Field = "") -> Response:
        _session(request, user)
        try:
            revoke_token(engine, user.name, name, user.actor, guard.now_ms())
        except UserError as error:
            return _account(request, user, _words(error), bad=True)
        return _account(request, user, "The token has ended.")

    def _session(request: Request, user: Principal) -> Session:
        session = guard.session_of(request) if user.how == "session" else None
        if session is None:
            raise Problem(HTTPStatus.FORBIDDEN, "this is for people who have logged in, not for tokens")
        return session

    def _account(request: Request, user: Principal, words: str = "", token: str = "", *, bad: bool = False) -> Response:
        session = _session(request, user)
        now_ms = guard.now_ms()
        with reading(engine) as connection:
            account = find_user(connection, user.name)
        good = [one for one in list_tokens(engine, user.name) if one.ended_ms is None]
        return pages.show(
            request,
            "account.html",
            HTTPStatus.UNPROCESSABLE_ENTITY if bad else HTTPStatus.OK,
            account=account,
            words=words,
            bad=bad,
            token=token,
            tokens=[one for one in good if one.expires_ms is None or one.expires_ms > now_ms],
            sessions=list_sessions(engine, guard.rules.limits, now_ms, user.name),
            this=session.id,
            needs_code=logins.needs_code(user.name),
            permissions=sorted(user.permissions),
            days=DEFAULT_DAYS,
        )


def _words(error: Exception) -> str:
    if isinstance(error, TooMany):
        return wait_words(error)
    text = str(error)
    return f"{text[:1].upper()}{text[1:]}."
