"""The pages for logging in and out, and for setting a first or new password by a set-up link.

Rules that hold here
- GET changes nothing; every form carries the token of the page that it was on (`Pages.check_form`).
- A log-in gives a new session at each step; what the browser held before is worth nothing afterwards.
- No page, address or log line shows a password or a code again.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated
from urllib.parse import quote

from fastapi import Depends, FastAPI, Form, Request, Response

from lapel_gateway.accounts.audit import Actor, note
from lapel_gateway.accounts.authenticators import picture, secret_text
from lapel_gateway.accounts.logins import LoggedIn, LogInRefused
from lapel_gateway.accounts.passwords import PasswordError
from lapel_gateway.accounts.sessions import Session, end_session, know_browser
from lapel_gateway.accounts.setup_links import SETUP_PATH, LinkGone, read_link, use_link
from lapel_gateway.accounts.throttle import TooMany
from lapel_gateway.ledger import writing
from lapel_gateway.web.access import given_form_token
from lapel_gateway.web.pages.frame import LOGIN_PATH, Pages, next_path, wait_words

CODE_PATH = LOGIN_PATH + "/code"
ENROL_PATH = LOGIN_PATH + "/authenticator"
LOGOUT_PATH = "/logout"

FormToken = Annotated[str, Depends(given_form_token)]
Field = Annotated[str, Form(max_length=1000)]


def install(app: FastAPI, pages: Pages) -> None:
    """Add the pages to ``app``."""
    guard = pages.guard
    logins = guard.logins

    @app.get(LOGIN_PATH, include_in_schema=False)
    def ask(request: Request, next: str = "", set: bool = False) -> Response:
        if (session := guard.session_of(request)) is not None and session.stage == "open":
            return pages.go(next_path(next))
        words = "Your password is set. Log in with it." if set else ""
        return pages.show(request, "login.html", next=next_path(next), words=words, bad=False, name="")

    @app.post(LOGIN_PATH, include_in_schema=False)
    def log_in(
        request: Request, given: FormToken, name: Field = "", password: Field = "", next: Field = ""
    ) -> Response:
        pages.check_form(request, given)
        try:
            done = logins.password(name, password, guard.browser_of(request))
        except TooMany as error:
            return _login(request, name, next, wait_words(error), HTTPStatus.TOO_MANY_REQUESTS, error)
        except LogInRefused as error:
            return _login(request, name, next, _sentence(error), HTTPStatus.FORBIDDEN)
        return _on(done, next)

    @app.get(CODE_PATH, include_in_schema=False)
    def ask_code(request: Request, next: str = "") -> Response:
        session = guard.session_of(request)
        if session is None or session.stage != "code":
            return pages.go(LOGIN_PATH)
        return pages.show(request, "code.html", next=next_path(next), words="")

    @app.post(CODE_PATH, include_in_schema=False)
    def give_code(request: Request, given: FormToken, code: Field = "", next: Field = "") -> Response:
        pages.check_form(request, given)
        session = guard.session_of(request)
        if session is None or session.stage != "code":
            return pages.go(LOGIN_PATH)
        try:
            done = logins.code(session, code, guard.browser_of(request))
        except TooMany as error:
            return _code(request, next, wait_words(error), HTTPStatus.TOO_MANY_REQUESTS, error)
        except LogInRefused as error:
            if guard.session_of(request) is None:
                return _login(request, "", next, _sentence(error), HTTPStatus.FORBIDDEN)
            return _code(request, next, _sentence(error), HTTPStatus.FORBIDDEN)
        return _on(done, next)

    @app.get(ENROL_PATH, include_in_schema=False)
    def show_secret(request: Request) -> Response:
        session = guard.session_of(request)
        if session is None or session.stage == "code":
            return pages.go(LOGIN_PATH)
        if session.stage == "open" and session.fresh_secret is None:
            return pages.go(next_path(""))
        return _enrol(request, session, "")

    @app.post(ENROL_PATH, include_in_schema=False)
    def give_first_code(request: Request, given: FormToken, code: Field = "") -> Response:
        pages.check_form(request, given)
        session = guard.session_of(request)
        if session is None or session.stage == "code":
            return pages.go(LOGIN_PATH)
        try:
            done = logins.enrol(session, code, guard.browser_of(request))
        except LogInRefused as error:
            if session.fresh_secret is None:
                return pages.go(next_path(""))
            return _enrol(request, session, _sentence(error), HTTPStatus.UNPROCESSABLE_ENTITY)
        response = pages.show(request, "recovery.html", cookie=done.token, codes=done.recovery_codes)
        pages.keep_session(response, done.token, done.known)
        return response

    @app.post(LOGOUT_PATH, include_in_schema=False)
    def log_out(request: Request, given: FormToken) -> Response:
        pages.check_form(request, given)
        session = guard.session_of(request)
        if session is not None:
            with writing(guard.engine) as connection:
                end_session(connection, session.id)
                actor = Actor(session.user, "session", guard.browser_of(request).address)
                note(connection, actor, guard.now_ms(), "log out")
        response = pages.go(LOGIN_PATH)
        pages.drop_session(response)
        return response

    @app.get(SETUP_PATH + "{code}", include_in_schema=False)
    def ask_password(request: Request, code: str) -> Response:
        try:
            link = read_link(guard.engine, code, guard.now_ms())
        except LinkGone as error:
            return _gone(request, error)
        return _setup(request, link.user, "")

    @app.post(SETUP_PATH + "{code}", include_in_schema=False)
    def set_password(
        request: Request, code: str, given: FormToken, password: Field = "", again: Field = ""
    ) -> Response:
        pages.check_form(request, given)
        try:
            link = read_link(guard.engine, code, guard.now_ms())
            if password != again:
                return _setup(request, link.user, "The two are not the same.", HTTPStatus.UNPROCESSABLE_ENTITY)
            address = guard.browser_of(request).address
            name = use_link(guard.engine, code, password, guard.rules.least_characters, address, guard.now_ms())
        except LinkGone as error:
            return _gone(request, error)
        except PasswordError as error:
            return _setup(request, link.user, _sentence(error), HTTPStatus.UNPROCESSABLE_ENTITY)
        response = pages.go(f"{LOGIN_PATH}?set=true")
        pages.drop_session(response)
        # Who was given a link gets in here, however many strangers guess the password at the same time.
        with writing(guard.engine) as connection:
            pages.keep_known(response, know_browser(connection, name, guard.now_ms()))
        return response

    def _on(done: LoggedIn, asked: str) -> Response:
        paths = {"code": CODE_PATH, "enrol": ENROL_PATH, "open": next_path(asked)}
        path = paths[done.stage]
        if done.stage == "code" and asked:
            path += f"?next={quote(next_path(asked), safe='/')}"
        response = pages.go(path)
        pages.keep_session(response, done.token, done.known)
        return response

    def _login(
        request: Request, name: str, asked: str, words: str, status: int, wait: TooMany | None = None
    ) -> Response:
        response = pages.show(request, "login.html", status, next=next_path(asked), words=words, bad=True, name=name)
        return _waiting(response, wait)

    def _code(request: Request, asked: str, words: str, status: int, wait: TooMany | None = None) -> Response:
        return _waiting(pages.show(request, "code.html", status, next=next_path(asked), words=words), wait)

    def _enrol(request: Request, session: Session, words: str, status: int = HTTPStatus.OK) -> Response:
        secret = logins.fresh_secret(session)
        seal = guard.installed.seal
        return pages.show(
            request,
            "enrol.html",
            status,
            words=words,
            secret=secret_text(seal, session.user, secret),
            picture=pages.trusted(picture(seal, session.user, secret)),
        )

    def _setup(request: Request, name: str, words: str, status: int = HTTPStatus.OK) -> Response:
        return pages.show(request, "setup.html", status, name=name, words=words, least=guard.rules.least_characters)

    def _gone(request: Request, error: LinkGone) -> Response:
        return pages.show(request, "fault.html", HTTPStatus.GONE, title="Set-up link", words=_sentence(error))


def _waiting(response: Response, wait: TooMany | None) -> Response:
    if wait is not None:
        response.headers["Retry-After"] = str(max(1, -(-wait.wait_ms // 1000)))
    return response


def _sentence(error: Exception) -> str:
    text = str(error)
    return f"{text[:1].upper()}{text[1:]}."
