"""The page of a trial's report: whether the cameras add safety, by team and month, and its figures for spreadsheets.

Rules that hold here
- Its figures are those of ``/api/v1/reports/trial``, which are read here with the same words.
- A period is of days, or of months, in the installation's time zone; by default half a year.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta, tzinfo
from http import HTTPStatus
from typing import Annotated, Any, Literal

import sqlalchemy as sa
from fastapi import Depends, FastAPI, Query, Request, Response

from lapel_gateway.accounts.permissions import Permission
from lapel_gateway.accounts.principal import Principal
from lapel_gateway.channels.message import moment_text
from lapel_gateway.ledger import reading
from lapel_gateway.reports.facts import read_teams
from lapel_gateway.reports.period import Period, PeriodError, day_begins_ms, local_day, parse_period
from lapel_gateway.reports.response import UnknownTeam
from lapel_gateway.reports.response_words import unknown_team_words
from lapel_gateway.reports.spreadsheets import csv_bytes
from lapel_gateway.reports.trial import read_trial
from lapel_gateway.reports.trial_lines import INCIDENT_COLUMNS, By, incident_lines, trial_lines
from lapel_gateway.reports.trial_words import trial_words
from lapel_gateway.web.access import may
from lapel_gateway.web.pages import trial_view
from lapel_gateway.web.pages.frame import Pages
from lapel_gateway.web.problems import Problem

PATH = "/reports"
CSV_PATH = PATH + "/trial.csv"
USUAL_MONTHS = 6
NO_TEAM = " "
"""What the form sends for whoever is in no team; no team can be named so."""

PartName = Literal["uptake", "visits", "notice", "recordings", "alarms", "clips_passed_on", "faults", "incidents"]

Reader = Annotated[Principal, Depends(may(Permission.SEE_REPORTS))]
From = Annotated[str, Query(alias="from", max_length=64)]
When = Annotated[str, Query(max_length=64)]
Team = Annotated[str, Query(max_length=200)]


@dataclass(frozen=True)
class Choice:
    """A period that is one press away."""

    title: str
    begin: str
    end: str


def install(app: FastAPI, pages: Pages) -> None:
    """Add the page to ``app``."""
    guard = pages.guard
    engine, now_ms, zone = guard.engine, guard.now_ms, guard.installed.zone
    pages.add_section("Report", PATH, Permission.SEE_REPORTS)

    @app.get(PATH, include_in_schema=False)
    def show(request: Request, user: Reader, begin: From = "", to: When = "", team: Team = "") -> Response:
        offered = choices(local_day(now_ms(), zone))
        usual = next(one for one in offered if one.title == f"Last {USUAL_MONTHS} months")
        asked = (begin or usual.begin, to or usual.end)
        status, said = HTTPStatus.OK, ""
        try:
            period, words = _read(engine, (*asked, team), zone, now_ms)
        except (PeriodError, UnknownTeam) as error:
            status, said = _said(error)
            asked, team = (usual.begin, usual.end), ""
            period, words = _read(engine, (*asked, team), zone, now_ms)
        with reading(engine) as connection:
            teams = sorted(set(read_teams(connection).values()) - {""})
        return pages.show(
            request,
            "reports.html",
            status,
            said=said,
            organisation=guard.installed.organisation,
            made=moment_text(now_ms(), zone),
            period=period_words(period, zone),
            begin=asked[0],
            end=asked[1],
            team=team,
            no_team=NO_TEAM,
            teams=teams,
            choices=offered,
            cards=trial_view.cards(words),
            parts=trial_view.parts(words),
            small=trial_view.small_teams(words),
            incidents=words["incidents"],
            csv=CSV_PATH,
        )

    @app.get(CSV_PATH, include_in_schema=False)
    def table(
        user: Reader,
        begin: From = "",
        to: When = "",
        team: Team = "",
        by: By = By.BOTH,
        part: PartName | None = None,
    ) -> Response:
        try:
            period, words = _read(engine, (begin, to, team), zone, now_ms)
        except (PeriodError, UnknownTeam) as error:
            raise Problem(*_said(error)) from None
        if part == "incidents":
            contents = csv_bytes(incident_lines(words), INCIDENT_COLUMNS)
        else:
            contents = csv_bytes(trial_lines(words, by, part))
        days = f"{local_day(period.from_ms, zone)}-to-{local_day(period.to_ms - 1, zone)}"
        name = f"lapel-trial-{part or 'all'}-{days}.csv"
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        return Response(contents, media_type="text/csv; charset=utf-8", headers=headers)


def choices(today: date) -> list[Choice]:
    """The periods that are offered, of whole months up to today."""
    first = today.replace(day=1)
    last = first - timedelta(days=1)
    found = [
        Choice("This month", first.isoformat(), today.isoformat()),
        Choice("Last month", last.replace(day=1).isoformat(), last.isoformat()),
    ]
    return found + [
        Choice(f"Last {count} months", _months_back(first, count - 1).isoformat(), today.isoformat())
        for count in (3, USUAL_MONTHS, 12)
    ]


def period_words(period: Period, zone: tzinfo | None) -> str:
    """A period as people say it: its days, or its times where it does not begin and end with a day."""
    first, last = local_day(period.from_ms, zone), local_day(period.to_ms - 1, zone)
    after = last + timedelta(days=1)
    if (day_begins_ms(first, zone), day_begins_ms(after, zone)) == (period.from_ms, period.to_ms):
        return f"{_day_words(first)} to {_day_words(last)}"
    return f"{moment_text(period.from_ms, zone)} to {moment_text(period.to_ms, zone)}"


def _read(
    engine: sa.Engine, asked: tuple[str, str, str], zone: tzinfo | None, now_ms: Callable[[], int]
) -> tuple[Period, dict[str, Any]]:
    begin, end, team = asked
    period = parse_period(begin or None, end or None, zone, now_ms())
    with reading(engine) as connection:
        return period, trial_words(read_trial(connection, period, team.strip() if team else None, zone))


def _said(error: PeriodError | UnknownTeam) -> tuple[HTTPStatus, str]:
    if isinstance(error, UnknownTeam):
        return HTTPStatus.NOT_FOUND, unknown_team_words(error)
    return HTTPStatus.UNPROCESSABLE_ENTITY, str(error)


def _months_back(first: date, count: int) -> date:
    months = first.year * 12 + first.month - 1 - count
    return date(months // 12, months % 12 + 1, 1)


def _day_words(day: date) -> str:
    return f"{day.day} {trial_view.MONTHS[day.month - 1]} {day.year}"
