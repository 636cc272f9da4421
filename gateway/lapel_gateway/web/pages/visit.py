"""The page of one visit: its time, what may be done in it, its place and people, its log, and where it was.

Rules that hold here
- A visit that is not theirs to see is not there.
- What is done is refused by the cores alone; the page then shows the visit as it is now, and their words.
- Positions are shown where they are asked for; each such look is in the audit log (`visits.looks`).
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Form, Path, Query, Request, Response

from lapel_gateway.accounts.permissions import Permission
from lapel_gateway.accounts.principal import Principal
from lapel_gateway.ledger import reading
from lapel_gateway.people import find_person
from lapel_gateway.visits import plans, record
from lapel_gateway.visits.book import NoSuchVisit, NotNow, VisitError
from lapel_gateway.visits.looks import look, may_see_where
from lapel_gateway.web.access import may
from lapel_gateway.web.guard import Guard
from lapel_gateway.web.pages import timelines
from lapel_gateway.web.pages.frame import Pages
from lapel_gateway.web.pages.shown_times import LocalTimes, span_text
from lapel_gateway.web.problems import Problem

VISITS_PATH = "/visits"
LARGEST_NUMBER = (1 << 53) - 1
EXTENSIONS_MIN = (15, 30, 60, 120)
DONE = {
    "planned": "The visit is planned.",
    "started": "The visit runs: its time is watched from now on.",
    "checked-in": "Checked in.",
    "extended": "Extended.",
    "ended": "The visit has ended.",
    "cancelled": "The visit is cancelled.",
}
"""What is said on the page that an action leads to."""

P = Permission
Sees = Annotated[Principal, Depends(may(P.SEE_VISITS, P.SEE_OWN))]
Runs = Annotated[Principal, Depends(may(P.RUN_VISITS, P.RUN_OWN_VISITS))]
Number = Annotated[int, Path(ge=1, le=LARGEST_NUMBER)]
Field = Annotated[str, Form(max_length=2000)]
Asked = Annotated[str, Query(max_length=200)]


def install(app: FastAPI, pages: Pages) -> None:
    """Add the page and its actions to ``app``."""
    guard = pages.guard
    engine, rules = guard.engine, guard.installed.rules

    @app.get(VISITS_PATH + "/{number}", include_in_schema=False)
    def show_visit(request: Request, number: Number, user: Sees, done: Asked = "", where: bool = False) -> Response:
        return _visit(request, user, number, DONE.get(done, ""), where=where)

    @app.post(VISITS_PATH + "/{number}/start", include_in_schema=False)
    def start_visit(request: Request, number: Number, user: Runs) -> Response:
        return _act(request, user, number, "started", lambda at: plans.start(engine, number, user.name, at, rules))

    @app.post(VISITS_PATH + "/{number}/check-in", include_in_schema=False)
    def check_in(request: Request, number: Number, user: Runs) -> Response:
        return _act(
            request, user, number, "checked-in", lambda at: plans.check_in_at(engine, number, user.name, at, rules)
        )

    @app.post(VISITS_PATH + "/{number}/extend", include_in_schema=False)
    def extend_visit(request: Request, number: Number, user: Runs, minutes: Field = "") -> Response:
        def extend(at_ms: int) -> None:
            plans.extend_by(engine, number, plans.minutes_of("an extension", minutes), user.name, at_ms, rules)

        return _act(request, user, number, "extended", extend)

    @app.post(VISITS_PATH + "/{number}/end", include_in_schema=False)
    def end_visit(request: Request, number: Number, user: Runs, note: Field = "") -> Response:
        return _act(request, user, number, "ended", lambda at: plans.end(engine, number, user.name, note, at, rules))

    @app.post(VISITS_PATH + "/{number}/cancel", include_in_schema=False)
    def cancel_visit(request: Request, number: Number, user: Runs, note: Field = "") -> Response:
        return _act(
            request, user, number, "cancelled", lambda at: plans.take_back(engine, number, user.name, note, at, rules)
        )

    def _act(request: Request, user: Principal, number: int, done: str, act: Callable[[int], None]) -> Response:
        """Do it; a session's person is led on by GET, so that a page loaded again does nothing twice."""
        try:
            with reading(engine) as connection:
                record.find_visit(connection, number, user.only(P.RUN_VISITS))
            act(guard.now_ms())
        except NoSuchVisit as error:
            raise Problem(HTTPStatus.NOT_FOUND, str(error)) from None
        except VisitError as error:
            status = HTTPStatus.CONFLICT if isinstance(error, NotNow) else HTTPStatus.UNPROCESSABLE_ENTITY
            return _visit(request, user, number, sentence(error), status)
        return pages.go(f"{VISITS_PATH}/{number}?done={done}")

    def _visit(
        request: Request,
        user: Principal,
        number: int,
        words: str,
        status: int = HTTPStatus.OK,
        *,
        where: bool = False,
    ) -> Response:
        try:
            sight = look(engine, number, user, rules, guard.now_ms(), where=where)
        except NoSuchVisit as error:
            raise Problem(HTTPStatus.NOT_FOUND, str(error)) from None
        with reading(engine) as connection:
            phones = {name: find_person(connection, name).phone for name in (sight.visit.person, sight.visit.buddy)}
        return pages.show(
            request,
            "visit.html",
            status,
            **tools_of(guard, user),
            words=words,
            bad=status != HTTPStatus.OK,
            one=sight.words,
            alarms=sight.alarms,
            positions=sight.positions,
            may_see_where=may_see_where(user, sight.visit.person),
            where=where,
            sketch=timelines.draw_sketch(sight.words["positions"]),
            risks=sight.risks if user.may(P.SEE_RISKS) else [],
            phones=phones if user.may(P.SEE_PEOPLE) else {},
        )


def tools_of(guard: Guard, user: Principal) -> dict[str, Any]:
    """What the templates of visits say and draw with."""

    def runs(one: dict[str, Any]) -> bool:
        return user.may(P.RUN_VISITS) or (user.may(P.RUN_OWN_VISITS) and one["person"] == user.name)

    return {
        "at": LocalTimes(guard.installed.zone, guard.now_ms()),
        "marks": timelines.MARKS,
        "kind_of": timelines.kind_of,
        "timer_of": timelines.draw_timer,
        "span": span_text,
        "extensions": sorted({*EXTENSIONS_MIN, guard.installed.rules.default_extend_min}),
        "default_extension": guard.installed.rules.default_extend_min,
        "runs": runs,
    }


def sentence(error: Exception) -> str:
    """What a core refuses with, as a page says it."""
    text = str(error)
    return f"{text[:1].upper()}{text[1:]}."
