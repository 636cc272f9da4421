"""The API of visits, of the risk register and of people. See `api` for the rules that hold for all of it.

A visit is planned with a time and its zone, or begins at once; every change is in the caller's name. Positions are
shown with one visit, to its own person and to those who may see positions, and every such look is logged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Annotated, Any

import sqlalchemy as sa
import structlog
from fastapi import Depends, FastAPI, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from lapel_gateway.accounts.audit import ALLOWED, note
from lapel_gateway.accounts.permissions import Permission
from lapel_gateway.accounts.principal import Principal
from lapel_gateway.describe import log_words
from lapel_gateway.describe_visits import position_words, risk_words, visit_words
from lapel_gateway.ledger import reading, writing
from lapel_gateway.ledger.schema import alarm, position, visit_log
from lapel_gateway.ledger.schema import visit as visit_table
from lapel_gateway.ledger.visits import RUNNING
from lapel_gateway.local_times import LocalTimeError, parse_moment
from lapel_gateway.people import PersonError
from lapel_gateway.settings.visits import VisitsSection
from lapel_gateway.visits import plans as visits
from lapel_gateway.visits import risk_register
from lapel_gateway.visits.book import NoSuchVisit, NotNow, VisitError
from lapel_gateway.visits.plans import Wanted
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

_log = structlog.get_logger("lapel.web")

P = Permission
SeesVisits = Annotated[Principal, Depends(may(P.SEE_VISITS, P.SEE_OWN))]
RunsVisits = Annotated[Principal, Depends(may(P.RUN_VISITS, P.RUN_OWN_VISITS))]
SeesRisks = Annotated[Principal, Depends(may(P.SEE_RISKS))]
KeepsRisks = Annotated[Principal, Depends(may(P.KEEP_RISKS))]
SeesPeople = Annotated[Principal, Depends(may(P.SEE_PEOPLE))]
KeepsPeople = Annotated[Principal, Depends(may(P.KEEP_PEOPLE))]

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


def install(app: FastAPI, engine: sa.Engine, now_ms: Callable[[], int], rules: VisitsSection) -> None:
    """Add the routes to ``app``."""

    @app.get("/api/v1/visits", response_model=models.Visits)
    def list_visits(
        user: SeesVisits,
        state: Annotated[str | None, Query(max_length=16)] = None,
        person: Annotated[str | None, Query(max_length=MAX_TEXT)] = None,
        every: bool = False,
        limit: Annotated[int, Query(ge=1, le=MAX_ROWS)] = 100,
    ) -> dict[str, Any]:
        query = sa.select(visit_table).order_by(visit_table.c.id.desc()).limit(limit)
        if state is not None:
            query = query.where(visit_table.c.state == state)
        elif not every:
            query = query.where(sa.or_(RUNNING, visit_table.c.state == "planned"))
        if person is not None:
            query = query.where(visit_table.c.person == person)
        if (whose := user.only(P.SEE_VISITS)) is not None:
            query = query.where(visit_table.c.person == whose)
        with reading(engine) as connection:
            return {"visits": [visit_words(row) for row in connection.execute(query).mappings()]}

    @app.get("/api/v1/visits/{number}", response_model=models.VisitWhole)
    def show_visit(number: Number, user: SeesVisits) -> dict[str, Any]:
        words = _visit(engine, number, user)
        if words["positions"]:
            _log.info("positions shown", visit=number, by=user.name)
            with writing(engine) as connection:
                note(connection, user.actor, now_ms(), "see positions", str(number), ALLOWED)
        return words

    @app.post("/api/v1/visits", status_code=HTTPStatus.CREATED, response_model=models.VisitPlanned)
    def plan_visit(wanted: NewVisit, user: RunsVisits) -> dict[str, Any]:
        if not user.may(P.RUN_VISITS) and wanted.person not in ("", user.name):
            raise Problem(HTTPStatus.FORBIDDEN, f"planning somebody else's visit needs the permission {P.RUN_VISITS}")
        with _refused():
            made = visits.plan(engine, _wanted(wanted, user.name), user.name, now_ms(), rules)
        return {**_visit(engine, made.visit, user), "risks": [risk_words(risk) for risk in made.risks]}

    @app.post("/api/v1/visits/{number}/start", response_model=models.VisitWhole)
    def start_visit(number: Number, user: RunsVisits) -> dict[str, Any]:
        _of(number, user)
        with _refused():
            visits.start(engine, number, user.name, now_ms(), rules)
        return _visit(engine, number, user)

    @app.post("/api/v1/visits/{number}/check-in", response_model=models.VisitWhole)
    def check_in(number: Number, user: RunsVisits) -> dict[str, Any]:
        _of(number, user)
        with _refused():
            visits.check_in_at(engine, number, user.name, now_ms(), rules)
        return _visit(engine, number, user)

    @app.post("/api/v1/visits/{number}/extend", response_model=models.VisitWhole)
    def extend_visit(number: Number, extension: Extension, user: RunsVisits) -> dict[str, Any]:
        _of(number, user)
        with _refused():
            visits.extend_by(engine, number, extension.minutes, user.name, now_ms(), rules)
        return _visit(engine, number, user)

    @app.post("/api/v1/visits/{number}/end", response_model=models.VisitWhole)
    def end_visit(number: Number, note: Note, user: RunsVisits) -> dict[str, Any]:
        _of(number, user)
        with _refused():
            visits.end(engine, number, user.name, note.note, now_ms(), rules)
        return _visit(engine, number, user)

    @app.post("/api/v1/visits/{number}/cancel", response_model=models.VisitWhole)
    def cancel_visit(number: Number, note: Note, user: RunsVisits) -> dict[str, Any]:
        _of(number, user)
        with _refused():
            visits.take_back(engine, number, user.name, note.note, now_ms(), rules)
        return _visit(engine, number, user)

    @app.get("/api/v1/risks", response_model=models.Risks)
    def list_risks(user: SeesRisks, every: bool = False) -> dict[str, Any]:
        found = risk_register.list_risks(engine, now_ms(), every=every)
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
        """Whoever runs only their own visits is told of no other. Raises Problem."""
        if not user.may(P.RUN_VISITS):
            with reading(engine) as connection:
                person = sa.select(visit_table.c.person).where(visit_table.c.id == number)
                if connection.execute(person).scalar_one_or_none() != user.name:
                    raise Problem(HTTPStatus.NOT_FOUND, "there is no such visit")


@contextmanager
def _refused() -> Iterator[None]:
    """What a core refuses, as a problem with its words."""
    try:
        yield
    except NoSuchVisit as error:
        raise Problem(HTTPStatus.NOT_FOUND, str(error)) from None
    except NotNow as error:
        raise Problem(HTTPStatus.CONFLICT, str(error)) from None
    except (VisitError, RiskError, PersonError, LocalTimeError) as error:
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


def _visit(engine: sa.Engine, number: int, user: Principal) -> dict[str, Any]:
    """One visit with its log, its alarms and, for those who may, its positions. Raises Problem when there is none."""
    with reading(engine) as connection:
        row = connection.execute(sa.select(visit_table).where(visit_table.c.id == number)).mappings().one_or_none()
        own = row is not None and row["person"] == user.name
        if row is None or not (own or user.may(P.SEE_VISITS) or user.may(P.RUN_VISITS)):
            raise Problem(HTTPStatus.NOT_FOUND, "there is no such visit")
        log = sa.select(visit_log).where(visit_log.c.visit == number).order_by(visit_log.c.id.desc()).limit(MAX_ROWS)
        found = sa.select(position).where(position.c.visit == number).order_by(position.c.id.desc()).limit(MAX_ROWS)
        where = connection.execute(found).mappings().all() if own or user.may(P.SEE_POSITIONS) else []
        raised = sa.select(alarm.c.id).where(alarm.c.visit == number).order_by(alarm.c.received_ms)
        return {
            **visit_words(row),
            "log": [log_words(one) for one in reversed(connection.execute(log).mappings().all())],
            "alarms": list(connection.execute(raised).scalars()),
            "positions": [position_words(one) for one in reversed(where)],
        }
