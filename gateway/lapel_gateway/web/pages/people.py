"""The pages of people: their team and telephone, what they have, and their accounts.

Rules that hold here
- A person is known by name; names are query and form fields, for they may hold any printable character.
- Accounts are shown to those who keep users, and to nobody else. A set-up link is shown once, on the page that answers
  the form, which no browser keeps (no-store).
- What somebody is not to see of a person (visits, clips) is not on the page.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated, Any
from urllib.parse import urlencode

import sqlalchemy as sa
from fastapi import Depends, FastAPI, Form, Query, Request, Response

from lapel_gateway import people
from lapel_gateway.accounts import users
from lapel_gateway.accounts.audit import note
from lapel_gateway.accounts.permissions import ROLE_NAMES, ROLES, Permission
from lapel_gateway.accounts.principal import Principal
from lapel_gateway.accounts.role_words import PERMISSION_WORDS, ROLE_WORDS
from lapel_gateway.accounts.sessions import end_sessions, list_sessions
from lapel_gateway.accounts.setup_links import SETUP_PATH, make_link
from lapel_gateway.accounts.users import NoSuchUser, User, UserError
from lapel_gateway.ledger import reading, writing
from lapel_gateway.ledger.schema import clip
from lapel_gateway.people import PersonError, find_person, known_names, list_teams
from lapel_gateway.visits.record import Chosen, list_visits
from lapel_gateway.web.access import may
from lapel_gateway.web.pages.frame import Pages
from lapel_gateway.web.pages.visit import sentence, tools_of
from lapel_gateway.web.problems import Problem

PEOPLE_PATH = "/people"
PERSON_PATH = PEOPLE_PATH + "/person"
VISITS_SHOWN = 10

DONE = {
    "saved": "Saved.",
    "roles": "The roles are set: they hold from the next thing that is done.",
    "disabled": "The account is disabled: every session has ended, and nothing lets them in.",
    "enabled": "The account is enabled again, with the password from before.",
    "sessions": "Every session has ended.",
}

P = Permission
Sees = Annotated[Principal, Depends(may(P.SEE_PEOPLE))]
Keeps = Annotated[Principal, Depends(may(P.KEEP_PEOPLE))]
KeepsUsers = Annotated[Principal, Depends(may(P.KEEP_USERS))]
Field = Annotated[str, Form(max_length=1000)]
Asked = Annotated[str, Query(max_length=1000)]
Roles = Annotated[list[str] | None, Form(max_length=64)]


def install(app: FastAPI, pages: Pages) -> None:
    """Add the pages to ``app``."""
    guard = pages.guard
    engine = guard.engine
    pages.add_section("People", PEOPLE_PATH, P.SEE_PEOPLE)

    @app.get(PEOPLE_PATH, include_in_schema=False)
    def people_page(request: Request, user: Sees, find: Asked = "") -> Response:
        return _everybody(request, user, find)

    @app.get(PEOPLE_PATH + "/new", include_in_schema=False)
    def new_user_page(request: Request, user: KeepsUsers, name: Asked = "") -> Response:
        return _new_user(request, name, [])

    @app.post(PEOPLE_PATH + "/new", include_in_schema=False)
    def add_user(request: Request, user: KeepsUsers, name: Field = "", role: Roles = None) -> Response:
        try:
            made = users.add_user(engine, name, role or [], user.actor, guard.now_ms())
        except UserError as error:
            return _new_user(request, name, role or [], sentence(error), HTTPStatus.UNPROCESSABLE_ENTITY)
        return _with_link(request, user, made.name, f"{made.name} has an account now.", new_authenticator=False)

    @app.get(PERSON_PATH, include_in_schema=False)
    def person_page(request: Request, user: Sees, name: Asked = "", done: Asked = "") -> Response:
        return _person(request, user, name, DONE.get(done, ""))

    @app.post(PERSON_PATH, include_in_schema=False)
    def set_person(
        request: Request, user: Keeps, name: Field = "", team: Field = "", phone: Field = "", new: bool = False
    ) -> Response:
        try:
            made = people.set_person(engine, name, team, phone, guard.now_ms())
        except PersonError as error:
            if new:
                return _everybody(request, user, "", sentence(error), (name, team, phone))
            return _person(request, user, name, sentence(error), bad=True)
        with writing(engine) as connection:
            note(connection, user.actor, guard.now_ms(), "set person", made.name)
        return pages.go(_address(made.name, "saved"))

    @app.post(PERSON_PATH + "/roles", include_in_schema=False)
    def set_roles(request: Request, user: KeepsUsers, name: Field = "", role: Roles = None) -> Response:
        def done(at_ms: int) -> None:
            users.set_roles(engine, name, role or [], user.actor, at_ms)

        return _do(request, user, name, "roles", done)

    @app.post(PERSON_PATH + "/setup-link", include_in_schema=False)
    def make_setup_link(
        request: Request, user: KeepsUsers, name: Field = "", new_authenticator: bool = Form(False)
    ) -> Response:
        try:
            return _with_link(request, user, name, "", new_authenticator=new_authenticator)
        except NoSuchUser as error:
            raise Problem(HTTPStatus.NOT_FOUND, str(error)) from None
        except UserError as error:
            return _person(request, user, name, sentence(error), bad=True)

    @app.post(PERSON_PATH + "/disable", include_in_schema=False)
    def disable_user(request: Request, user: KeepsUsers, name: Field = "") -> Response:
        return _do(request, user, name, "disabled", lambda at: users.disable_user(engine, name, user.actor, at))

    @app.post(PERSON_PATH + "/enable", include_in_schema=False)
    def enable_user(request: Request, user: KeepsUsers, name: Field = "") -> Response:
        return _do(request, user, name, "enabled", lambda at: users.enable_user(engine, name, user.actor, at))

    @app.post(PERSON_PATH + "/sessions/end", include_in_schema=False)
    def end_all_sessions(request: Request, user: KeepsUsers, name: Field = "") -> Response:
        def done(at_ms: int) -> None:
            with writing(engine) as connection:
                users.find_user(connection, name)
                end_sessions(connection, name)
                note(connection, user.actor, at_ms, "end session", name)

        return _do(request, user, name, "sessions", done)

    def _do(request: Request, user: Principal, name: str, done: str, act: Callable[[int], None]) -> Response:
        try:
            act(guard.now_ms())
        except NoSuchUser as error:
            raise Problem(HTTPStatus.NOT_FOUND, str(error)) from None
        except UserError as error:
            return _person(request, user, name, sentence(error), bad=True)
        return pages.go(_address(name, done))

    def _with_link(request: Request, user: Principal, name: str, words: str, *, new_authenticator: bool) -> Response:
        installed = guard.installed
        valid_ms = installed.accounts.setup_link_ms
        code = make_link(engine, name, user.actor, guard.now_ms(), valid_ms, new_authenticator=new_authenticator)
        here = installed.public_url or f"{request.url.scheme}://{request.headers.get('host', '')}"
        return _person(request, user, name, words, link=f"{here}{SETUP_PATH}{code}")

    def _everybody(
        request: Request, user: Principal, find: str, words: str = "", entered: tuple[str, str, str] = ("", "", "")
    ) -> Response:
        entries = {one.name: one for one in people.list_people(engine)}
        accounts = _accounts() if user.may(P.KEEP_USERS) else {}
        with reading(engine) as connection:
            names = sorted({*known_names(connection), *accounts}, key=str.casefold)
            held = people.devices_of(connection) if user.may(P.SEE_DEVICES) else {}
            teams = list_teams(connection)
        everybody = [
            (entries.get(name) or people.Person(name), held.get(name, []), accounts.get(name)) for name in names
        ]
        wanted = find.casefold().strip()
        return pages.show(
            request,
            "people.html",
            HTTPStatus.UNPROCESSABLE_ENTITY if words else HTTPStatus.OK,
            everybody=[one for one in everybody if wanted in f"{one[0].name} {one[0].team}".casefold()],
            find=find,
            teams=teams,
            words=words,
            entered=entered,
            keeps=user.may(P.KEEP_PEOPLE),
            keeps_users=user.may(P.KEEP_USERS),
            sees_devices=user.may(P.SEE_DEVICES),
        )

    def _accounts() -> dict[str, User]:
        return {one.name: one for one in users.list_users(engine)}

    def _person(
        request: Request, user: Principal, name: str, words: str = "", *, bad: bool = False, link: str = ""
    ) -> Response:
        tools = tools_of(guard, user)
        now_ms = guard.now_ms()
        account = _accounts().get(name) if user.may(P.KEEP_USERS) else None
        with reading(engine) as connection:
            if name not in known_names(connection) and account is None:
                raise Problem(HTTPStatus.NOT_FOUND, "nobody of that name is known here")
            facts: dict[str, Any] = {
                "person": find_person(connection, name),
                "devices": people.devices_of(connection).get(name, []) if user.may(P.SEE_DEVICES) else None,
                "teams": list_teams(connection),
                "visits": None,
                "clips": None,
            }
            if user.may(P.SEE_VISITS):
                chosen = Chosen(person=name)
                rules = guard.installed.rules
                facts["visits"] = list_visits(connection, chosen, rules, now_ms, VISITS_SHOWN, every=True)
            if user.may(P.SEE_CLIPS):
                count = sa.select(sa.func.count()).select_from(clip).where(clip.c.person == name)
                facts["clips"] = connection.execute(count).scalar_one()
        sessions = list_sessions(engine, guard.rules.limits, now_ms, name) if account is not None else []
        return pages.show(
            request,
            "person.html",
            HTTPStatus.UNPROCESSABLE_ENTITY if bad else HTTPStatus.OK,
            **tools,
            **facts,
            words=words,
            bad=bad,
            link=link,
            link_hours=guard.installed.accounts.setup_link_hours,
            account=account,
            sessions=sessions,
            needs_code=bool(account is not None and guard.rules.code_roles & set(account.roles)),
            roles=ROLE_WORDS,
            keeps=user.may(P.KEEP_PEOPLE),
            keeps_users=user.may(P.KEEP_USERS),
            oneself=name == user.name,
        )

    def _new_user(
        request: Request, name: str, chosen: list[str], words: str = "", status: int = HTTPStatus.OK
    ) -> Response:
        with reading(engine) as connection:
            names = known_names(connection)
        accounts = _accounts()
        return pages.show(
            request,
            "user_new.html",
            status,
            name=name,
            chosen=chosen,
            words=words,
            names=[one for one in names if one not in accounts],
            roles=ROLE_WORDS,
            role_names=ROLE_NAMES,
            table=[(meaning, [one in ROLES[role] for role in ROLE_NAMES]) for one, meaning in PERMISSION_WORDS.items()],
            code_roles=sorted(guard.rules.code_roles),
        )


def _address(name: str, done: str) -> str:
    """The page of a person."""
    return f"{PERSON_PATH}?{urlencode({'name': name, 'done': done})}"
