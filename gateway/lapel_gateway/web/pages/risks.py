"""The page of the risk register: what is due for review first, what is known of a place, entries made, reviewed, ended.

Rules that hold here
- An entry is a fact with an owner and a day of review; the page says what may be written, where it is written.
- What was typed is shown again with what is wrong with it; nothing is ended without a second press.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from http import HTTPStatus
from typing import Annotated

from fastapi import Depends, FastAPI, Form, Path, Query, Request, Response

from lapel_gateway.accounts.permissions import Permission
from lapel_gateway.accounts.principal import Principal
from lapel_gateway.ledger import reading
from lapel_gateway.people import known_names
from lapel_gateway.reports.period import day_begins_ms
from lapel_gateway.visits import risk_register
from lapel_gateway.visits.risk_register import NoSuchRisk, RiskError
from lapel_gateway.web.access import may
from lapel_gateway.web.pages.frame import Pages
from lapel_gateway.web.pages.visit import LARGEST_NUMBER, sentence, tools_of
from lapel_gateway.web.problems import Problem

RISKS_PATH = "/risks"
REVIEW_DAYS = 183
"""Ahead, where nobody says another day."""

DONE = {
    "added": "The entry is in the register: whoever plans a visit there is shown it.",
    "reviewed": "The review is noted.",
    "ended": "The entry has ended: nobody is warned of it any more.",
}

Sees = Annotated[Principal, Depends(may(Permission.SEE_RISKS))]
Keeps = Annotated[Principal, Depends(may(Permission.KEEP_RISKS))]
Number = Annotated[int, Path(ge=1, le=LARGEST_NUMBER)]
Field = Annotated[str, Form(max_length=2000)]
Asked = Annotated[str, Query(max_length=500)]

NEW = {"place": "", "about": "", "note": "", "owner": "", "review": ""}


def install(app: FastAPI, pages: Pages) -> None:
    """Add the page to ``app``."""
    guard = pages.guard
    engine, zone = guard.engine, guard.installed.zone
    pages.add_section("Risks", RISKS_PATH, Permission.SEE_RISKS)

    @app.get(RISKS_PATH, include_in_schema=False)
    def risks_page(
        request: Request, user: Sees, place: Asked = "", present: Asked = "", every: bool = False, done: Asked = ""
    ) -> Response:
        return _register(request, user, DONE.get(done, ""), place=place, present=present, every=every)

    @app.post(RISKS_PATH, include_in_schema=False)
    def add_risk(
        request: Request,
        user: Keeps,
        place: Field = "",
        about: Field = "",
        note: Field = "",
        owner: Field = "",
        review: Field = "",
    ) -> Response:
        def add(at_ms: int) -> None:
            whose = owner.strip() or user.name
            risk_register.add_risk(engine, place, about, note, whose, _day_ms(review), at_ms)

        typed = {"place": place, "about": about, "note": note, "owner": owner, "review": review}
        return _do(request, user, "added", add, typed)

    @app.post(RISKS_PATH + "/{number}/review", include_in_schema=False)
    def review_risk(request: Request, number: Number, user: Keeps, note: Field = "", review: Field = "") -> Response:
        def done(at_ms: int) -> None:
            risk_register.review_risk(engine, number, _day_ms(review), note, user.name, at_ms)

        return _do(request, user, "reviewed", done)

    @app.post(RISKS_PATH + "/{number}/end", include_in_schema=False)
    def end_risk(request: Request, number: Number, user: Keeps) -> Response:
        def done(at_ms: int) -> None:
            risk_register.end_risk(engine, number, user.name, at_ms)

        return _do(request, user, "ended", done)

    def _do(
        request: Request, user: Principal, done: str, act: Callable[[int], None], typed: dict[str, str] = NEW
    ) -> Response:
        try:
            act(guard.now_ms())
        except NoSuchRisk as error:
            raise Problem(HTTPStatus.NOT_FOUND, str(error)) from None
        except RiskError as error:
            return _register(request, user, sentence(error), HTTPStatus.UNPROCESSABLE_ENTITY, typed=typed)
        return pages.go(f"{RISKS_PATH}?done={done}")

    def _day_ms(text: str) -> int:
        try:
            return day_begins_ms(date.fromisoformat(text), zone)
        except (ValueError, OverflowError, OSError):
            raise RiskError("say on which day it is looked at again, as 2026-05-31") from None

    def _register(
        request: Request,
        user: Principal,
        words: str,
        status: int = HTTPStatus.OK,
        *,
        place: str = "",
        present: str = "",
        every: bool = False,
        typed: dict[str, str] = NEW,
    ) -> Response:
        tools = tools_of(guard, user)
        now_ms = tools["at"].now_ms
        asked = bool(place.strip() or present.strip())
        with reading(engine) as connection:
            known = risk_register.find_risks(connection, place, present, now_ms) if asked else []
            names = known_names(connection) if user.may(Permission.SEE_PEOPLE) else []
        return pages.show(
            request,
            "risks.html",
            status,
            **tools,
            words=words,
            bad=status != HTTPStatus.OK,
            risks=known if asked else risk_register.list_risks(engine, now_ms, every=every),
            asked=asked,
            place=place,
            present=present,
            every=every,
            typed=typed,
            names=names,
            next_review=tools["at"].today + timedelta(days=REVIEW_DAYS),
            keeps=user.may(Permission.KEEP_RISKS),
        )
