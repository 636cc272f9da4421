"""The page of teams: who is of each, who is told of its alarms and when, and what is kept how long.

What it shows of settings is set in ``lapel.toml`` and by commands; it says so, and changes nothing.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, FastAPI, Request, Response

from lapel_gateway import people
from lapel_gateway.accounts.permissions import Permission
from lapel_gateway.accounts.principal import Principal
from lapel_gateway.alarms.ladders import Ladder, hours_words
from lapel_gateway.web.access import may
from lapel_gateway.web.pages.frame import Pages
from lapel_gateway.web.pages.people import PEOPLE_PATH
from lapel_gateway.web.pages.shown_times import LocalTimes, span_text

TEAMS_PATH = PEOPLE_PATH + "/teams"

P = Permission


def install(app: FastAPI, pages: Pages, ladders: list[Ladder]) -> None:
    """Add the page to ``app``; ``ladders``: the policies as configured."""
    guard = pages.guard

    @app.get(TEAMS_PATH, include_in_schema=False)
    def teams_page(request: Request, user: Annotated[Principal, Depends(may(P.SEE_PEOPLE))]) -> Response:
        everybody = people.list_people(guard.engine)
        teams = sorted({one.team for one in everybody if one.team}, key=str.casefold)
        shown = ladders if user.may(P.SEE_CHANNELS) else []
        return pages.show(
            request,
            "teams.html",
            at=LocalTimes(guard.installed.policies.zone, guard.now_ms()),
            span=span_text,
            hours=hours_words,
            teams=[
                (team, [one for one in everybody if one.team == team], [one for one in shown if one.concerns(team)])
                for team in teams
            ],
            without=[one for one in everybody if not one.team],
            ladders=shown,
            rules=guard.installed.rules,
        )
