"""The reports of the API: figures over a period."""

from __future__ import annotations

from collections.abc import Callable
from datetime import tzinfo
from http import HTTPStatus
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import Depends, FastAPI, Query

from lapel_gateway.accounts.permissions import Permission
from lapel_gateway.accounts.principal import Principal
from lapel_gateway.ledger import reading
from lapel_gateway.reports.period import Period, PeriodError, parse_period
from lapel_gateway.reports.response import UnknownTeam, read_report
from lapel_gateway.reports.response_words import response_words, unknown_team_words
from lapel_gateway.reports.trial import read_trial
from lapel_gateway.reports.trial_words import trial_words
from lapel_gateway.web.access import may
from lapel_gateway.web.models import reports as models
from lapel_gateway.web.problems import Problem

When = Annotated[str | None, Query(max_length=64)]
Team = Annotated[str | None, Query(max_length=64)]
From = Annotated[str | None, Query(alias="from", max_length=64)]

Reader = Annotated[Principal, Depends(may(Permission.SEE_REPORTS))]


def install(app: FastAPI, engine: sa.Engine, now_ms: Callable[[], int], zone: tzinfo | None) -> None:
    """Let ``app`` answer with reports on a ledger; days and months are those of ``zone``, None = this machine's."""

    def read(
        words: Callable[[sa.Connection, Period], dict[str, Any]], begin: str | None, to: str | None
    ) -> dict[str, Any]:
        try:
            period = parse_period(begin, to, zone, now_ms())
            with reading(engine) as connection:
                return words(connection, period)
        except PeriodError as error:
            raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from None
        except UnknownTeam as error:
            raise Problem(HTTPStatus.NOT_FOUND, unknown_team_words(error)) from None

    @app.get("/api/v1/reports/response", response_model=models.ResponseReport)
    def response(user: Reader, begin: From = None, to: When = None, team: Team = None) -> dict[str, Any]:
        return read(lambda ledger, period: response_words(read_report(ledger, period, team, zone)), begin, to)

    @app.get("/api/v1/reports/trial", response_model=models.TrialReport)
    def trial(user: Reader, begin: From = None, to: When = None, team: Team = None) -> dict[str, Any]:
        return read(lambda ledger, period: trial_words(read_trial(ledger, period, team, zone)), begin, to)
