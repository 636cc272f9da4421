"""The pages of visits: one's own first, the team's day, and the form of a new one.

Rules that hold here
- Whoever runs only their own visits is shown no other, and no name of anybody they have not named themselves.
- What the risk register knows of a place is shown before a visit there begins.
"""

from __future__ import annotations

from datetime import date, timedelta
from http import HTTPStatus
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import FastAPI, Form, Request, Response

from lapel_gateway.accounts.permissions import Permission
from lapel_gateway.accounts.principal import Principal
from lapel_gateway.ledger import reading
from lapel_gateway.people import known_names, list_teams
from lapel_gateway.reports.period import Period, day_begins_ms
from lapel_gateway.visits import plans, record
from lapel_gateway.visits.book import NotNow, VisitError
from lapel_gateway.visits.plans import MAX_CHECK_IN_MINUTES
from lapel_gateway.visits.record import Chosen
from lapel_gateway.visits.risk_register import Risk, find_risks
from lapel_gateway.web.pages import timelines, visit
from lapel_gateway.web.pages.frame import Pages
from lapel_gateway.web.pages.shown_times import LocalTimes
from lapel_gateway.web.pages.visit import DONE, VISITS_PATH, Asked, Runs, Sees, sentence, tools_of
from lapel_gateway.web.pages.visit_form import BLANK, VisitForm, as_wanted
from lapel_protocol.limits import MAX_VISIT_MINUTES

URGENCY = ("overdue", "amber", "active", "planned", "ended", "cancelled")
"""In which order the states of a day are told."""

P = Permission


def install(app: FastAPI, pages: Pages) -> None:
    """Add the pages to ``app``, that of one visit with them."""
    guard = pages.guard
    engine, rules = guard.engine, guard.installed.rules
    pages.add_section("Visits", VISITS_PATH, P.SEE_VISITS, P.RUN_OWN_VISITS)

    @app.get(VISITS_PATH, include_in_schema=False)
    def visits_page(
        request: Request, user: Sees, day: Asked = "", team: Asked = "", person: Asked = "", done: Asked = ""
    ) -> Response:
        tools = tools_of(guard, user)
        now: LocalTimes = tools["at"]
        wanted = _date(day) if day else now.today
        words = DONE.get(done, "") if wanted is not None else "A day is written as 2026-05-31; this is today."
        with reading(engine) as connection:
            own = record.own_visits(connection, user.name, rules, now.now_ms)
            risks = {one["id"]: find_risks(connection, one["place"], one["present"], now.now_ms) for one in own}
            team_day = None
            if user.may(P.SEE_VISITS):
                team_day = _team_day(connection, wanted or now.today, team, person, now)
        return pages.show(
            request,
            "visits.html",
            **tools,
            words=words,
            bad=wanted is None,
            own=own,
            risks=risks,
            runs_any=user.may(P.RUN_VISITS) or user.may(P.RUN_OWN_VISITS),
            team_day=team_day,
        )

    @app.get(VISITS_PATH + "/new", include_in_schema=False)
    def new_visit_page(request: Request, user: Runs) -> Response:
        return _form(request, user, BLANK)

    @app.post(VISITS_PATH + "/new", include_in_schema=False)
    def plan_visit(request: Request, user: Runs, form: Annotated[VisitForm, Form()]) -> Response:
        try:
            wanted = as_wanted(form, user)
            risks = plans.foresee(engine, wanted, user.name, guard.now_ms(), rules)
            known = ",".join(str(risk.id) for risk in risks)
            if risks and form.known != known:
                return _form(request, user, form.model_copy(update={"known": known}), risks=risks)
            made = plans.plan(engine, wanted, user.name, guard.now_ms(), rules)
        except VisitError as error:
            status = HTTPStatus.CONFLICT if isinstance(error, NotNow) else HTTPStatus.UNPROCESSABLE_ENTITY
            return _form(request, user, form, sentence(error), status)
        return pages.go(f"{VISITS_PATH}/{made.visit}?done={'started' if wanted.planned_ms is None else 'planned'}")

    def _form(
        request: Request,
        user: Principal,
        form: VisitForm,
        words: str = "",
        status: int = HTTPStatus.OK,
        risks: list[Risk] | None = None,
    ) -> Response:
        tools = tools_of(guard, user)
        with reading(engine) as connection:
            names = known_names(connection) if user.may(P.SEE_PEOPLE) else record.buddies_of(connection, user.name)
        return pages.show(
            request,
            "visit_new.html",
            status,
            **tools,
            words=words,
            form=form,
            risks=risks or [],
            names=[name for name in names if name != user.name],
            for_others=user.may(P.RUN_VISITS),
            rules=rules,
            most_min=MAX_VISIT_MINUTES,
            most_check_in_min=MAX_CHECK_IN_MINUTES,
        )

    def _team_day(connection: sa.Connection, day: date, team: str, person: str, now: LocalTimes) -> dict[str, Any]:
        zone = guard.installed.zone
        period = Period(day_begins_ms(day, zone), day_begins_ms(day + timedelta(days=1), zone))
        chosen = Chosen(person=person or None, team=team or None)
        found = record.visits_of_period(connection, period, chosen, rules, now.now_ms)
        return {
            "day": day,
            "before": day - timedelta(days=1),
            "after": day + timedelta(days=1),
            "today": day == now.today,
            "visits": found,
            "urgent_first": sorted(found, key=lambda one: URGENCY.index(timelines.kind_of(one))),
            "more": len(found) == record.MAX_ROWS,
            "drawing": timelines.draw_day(found, period, now),
            "team": team,
            "teams": list_teams(connection),
            "person": person,
            "people": sorted({one["person"] for one in found} | ({person} if person else set())),
        }

    visit.install(app, pages)


def _date(text: str) -> date | None:
    """A day that this page can show; None for any other text."""
    try:
        found = date.fromisoformat(text)
    except ValueError:
        return None
    return found if 1971 <= found.year <= 2999 else None
