"""The API of visits, of the risk register and of people. See `api` for the rules that hold for all of it.

A visit is planned with a time and its zone, or begins at once; every change is in the caller's name. Positions are
shown with one visit, to its own person and to those who may see positions, and every such look is logged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import tzinfo
from http import HTTPStatus
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import Depends, FastAPI, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from lapel_gateway.accounts.permissions import Permission
from lapel_gateway.accounts.principal import Principal
from lapel_gateway.describe_visits import risk_words
from lapel_gateway.ledger import reading
from lapel_gateway.local_times import LocalTimeError, parse_moment
from lapel_gateway.people import PersonError
from lapel_gateway.reports.period import PeriodError, parse_period
from lapel_gateway.settings.visits import VisitsSection
from lapel_gateway.visits import plans as visits
from lapel_gateway.visits import record, risk_register
from lapel_gateway.visits.book import NoSuchVisit, NotNow, VisitError
from lapel_gateway.visits.looks import look
from lapel_gateway.visits.plans import Wanted
from lapel_gateway.visits.record import Chosen
from lapel_gateway.visits.risk_register import RiskError
from lapel_gateway.web.access import may
from lapel_gateway.web.models import visits as models
from lapel_gateway.web.problems import Problem

MAX_TEXT = 500
"""Characters of any text; the cores have closer bounds and words for them."""

MAX_ROWS = 500
"""In one answer."""

LARGEST_NUMBER = (1 << 53) - 1
"""Of a row: what JSON holds exactly."""

P = Permission
SeesVisits = Annotated[Principal, Depends(may(P.SEE_VISITS, P.SEE_OWN))]
RunsVisits = Annotated[Principal, Depends(may(P.RUN_VISITS, P.RUN_OWN_VISITS))]
SeesRisks = Annotated[Principal, Depends(may(P.SEE_RISKS))]
KeepsRisks = Annotated[Principal, Depends(may(P.KEEP_RISKS))]

Text = Annotated[str, Field(max_length=MAX_TEXT)]
Minutes = Annotated[int, Field(ge=0, le=1440)]
Number = Annotated[int, Path(ge=1, le=LARGEST_NUMBER)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NewVisit(_Body):
    """A visit to plan; without ``planned`` it begins now."""

    person: Text = ""
    place: Text
    purpose: Text = ""
    present: Text = ""
    risk: Text = ""
    buddy: Text = ""
    expected_min: Minutes | None = None
    check_in_min: Minutes = 0
    planned: Text = ""
    zone: Text = ""


class Extension(_Body):
    """How much longer a visit takes; None = as the settings say."""

    minutes: Minutes | None = None


class Note(_Body):
    """What is to be remembered with it."""

    note: Text = ""


class NewRisk(_Body):
    """An entry of the register: about a place, a person, or both."""

    place: Text = ""
    about: Text = ""
    note: Text
    owner: Text = ""
    review: Text
    zone: Text = ""


class Review(_Body):
    """An entry was looked at; without a note it keeps the one that it has."""

    review: Text
    zone: Text = ""
    note: Text | None = None


def install(
    app: FastAPI,
    engine: sa.Engine,
    now_ms: Callable[[], int],
    rules: VisitsSection,
    zone: tzinfo | None = None,
) -> None:
    """Add the routes to ``app``; ``zone`` is where days are counted, None = this machine's."""

    @app.get("/api/v1/visits", response_model=models.Visits)
    def list_visits(
        user: SeesVisits,
        state: Annotated[str | None, Query(max_length=16)] = None,
        person: Annotated[str | None, Query(max_length=MAX_TEXT)] = None,
        every: bool = False,
        limit: Annotated[int, Query(ge=1, le=MAX_ROWS)] = 100,
        begin: Annotated[str | None, Query(alias="from", max_length=MAX_TEXT)] = None,
        end: Annotated[str | None, Query(alias="to", max_length=MAX_TEXT)] = None,
        team: Annotated[str | None, Query(max_length=MAX_TEXT)] = None,
    ) -> dict[str, Any]:
        """Visits that run or are planned, or every one, the newest first.

        With `from` or `to` (a day, or an exact time): those that some of that period was, is or will be part of.
        """
        wanted = Chosen(user.only(P.SEE_VISITS), person, team, state)
        with reading(engine) as connection, _refused():
            if begin is not None or end is not None:
                asked = parse_period(begin, end, zone, now_ms())
                found = record.visits_of_period(connection, asked, wanted, rules, now_ms(), limit)
            else:
                found = record.list_visits(connection, wanted, rules, now_ms(), limit, every=every)
        return {"visits": found}

    @app.get("/api/v1/visits/{number}", response_model=models.VisitWhole)
    def show_visit(number: Number, user: SeesVisits, positions: bool = True) -> dict[str, Any]:
        """One visit. Its positions are told only to those who may see them, and each such look is in the audit log."""
        return _visit(number, user, where=positions)

    @app.post("/api/v1/visits", status_code=HTTPStatus.CREATED, response_model=models.VisitWhole)
    def plan_visit(wanted: NewVisit, user: RunsVisits) -> dict[str, Any]:
        if not user.may(P.RUN_VISITS) and wanted.person not in ("", user.name):
            raise Problem(HTTPStatus.FORBIDDEN, f"planning somebody else's visit needs the permission {P.RUN_VISITS}")
        with _refused():
            made = visits.plan(engine, _wanted(wanted, user.name), user.name, now_ms(), rules)
        return _visit(made.visit, user)

    @app.post("/api/v1/visits/{number}/start", response_model=models.VisitWhole)
    def start_visit(number: Number, user: RunsVisits) -> dict[str, Any]:
        with _refused():
            _of(number, user)
            visits.start(engine, number, user.name, now_ms(), rules)
        return _visit(number, user)

    @app.post("/api/v1/visits/{number}/check-in", response_model=models.VisitWhole)
    def check_in(number: Number, user: RunsVisits) -> dict[str, Any]:
        with _refused():
            _of(number, user)
            visits.check_in_at(engine, number, user.name, now_ms(), rules)
        return _visit(number, user)

    @app.post("/api/v1/visits/{number}/extend", response_model=models.VisitWhole)
    def extend_visit(number: Number, extension: Extension, user: RunsVisits) -> dict[str, Any]:
        with _refused():
            _of(number, user)
            visits.extend_by(engine, number, extension.minutes, user.name, now_ms(), rules)
        return _visit(number, user)

    @app.post("/api/v1/visits/{number}/end", response_model=models.VisitWhole)
    def end_visit(number: Number, note: Note, user: RunsVisits) -> dict[str, Any]:
        with _refused():
            _of(number, user)
            visits.end(engine, number, user.name, note.note, now_ms(), rules)
        return _visit(number, user)

    @app.post("/api/v1/visits/{number}/cancel", response_model=models.VisitWhole)
    def cancel_visit(number: Number, note: Note, user: RunsVisits) -> dict[str, Any]:
        with _refused():
            _of(number, user)
            visits.take_back(engine, number, user.name, note.note, now_ms(), rules)
        return _visit(number, user)

    @app.get("/api/v1/risks", response_model=models.Risks)
    def list_risks(
        user: SeesRisks,
        every: bool = False,
        place: Annotated[str | None, Query(max_length=MAX_TEXT)] = None,
        present: Annotated[str | None, Query(max_length=MAX_TEXT)] = None,
    ) -> dict[str, Any]:
        """The register, those due for review first.

        With `place` or `present`: what is known of that place and of those people, as somebody who plans is told.
        """
        if place is None and present is None:
            found = risk_register.list_risks(engine, now_ms(), every=every)
        else:
            with reading(engine) as connection:
                found = risk_register.find_risks(connection, place or "", present or "", now_ms())
        return {"risks": [risk_words(risk) for risk in found]}

    @app.post("/api/v1/risks", status_code=HTTPStatus.CREATED, response_model=models.Risk)
    def add_risk(new: NewRisk, user: KeepsRisks) -> dict[str, Any]:
        with _refused():
            review_ms = parse_moment(new.review, new.zone)
            made = risk_register.add_risk(
                engine, new.place, new.about, new.note, new.owner or user.name, review_ms, now_ms()
            )
        return risk_words(made)

    @app.post("/api/v1/risks/{number}/review", response_model=models.Risk)
    def review_risk(number: Number, review: Review, user: KeepsRisks) -> dict[str, Any]:
        with _refused():
            review_ms = parse_moment(review.review, review.zone)
            return risk_words(risk_register.review_risk(engine, number, review_ms, review.note, user.name, now_ms()))

    @app.post("/api/v1/risks/{number}/end", response_model=models.Risk)
    def end_risk(number: Number, user: KeepsRisks) -> dict[str, Any]:
        with _refused():
            return risk_words(risk_register.end_risk(engine, number, user.name, now_ms()))

    def _of(number: int, user: Principal) -> None:
        """Whoever runs only their own visits is told of no other. Raises NoSuchVisit."""
        with reading(engine) as connection:
            record.find_visit(connection, number, user.only(P.RUN_VISITS))

    def _visit(number: int, user: Principal, *, where: bool = False) -> dict[str, Any]:
        with _refused():
            sight = look(engine, number, user, rules, now_ms(), where=where)
        return {**sight.words, "risks": [risk_words(risk) for risk in sight.risks] if user.may(P.SEE_RISKS) else []}


@contextmanager
def _refused() -> Iterator[None]:
    """What a core refuses, as a problem with its words."""
    try:
        yield
    except NoSuchVisit as error:
        raise Problem(HTTPStatus.NOT_FOUND, str(error)) from None
    except NotNow as error:
        raise Problem(HTTPStatus.CONFLICT, str(error)) from None
    except (VisitError, RiskError, PersonError, LocalTimeError, PeriodError) as error:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from None


def _wanted(new: NewVisit, user: str) -> Wanted:
    """What a request asks for; whoever names nobody goes themselves. Raises LocalTimeError."""
    return Wanted(
        new.person or user,
        new.place,
        new.purpose,
        new.present,
        new.risk,
        new.buddy,
        new.expected_min,
        new.check_in_min,
        parse_moment(new.planned, new.zone) if new.planned else None,
    )
