"""The page of teams: who is of each, who is told of its alarms and when, and what is kept how long.

What it shows of settings is set in ``lapel.toml`` and by commands, and it says so. The notice policy alone is set here,
on the devices that a team's people have now.
"""

from __future__ import annotations

from collections import Counter
from http import HTTPStatus
from typing import Annotated

from fastapi import Depends, FastAPI, Form, Query, Request, Response

from lapel_gateway import people
from lapel_gateway.accounts.permissions import Permission
from lapel_gateway.accounts.principal import Principal
from lapel_gateway.alarms.ladders import Ladder, hours_words
from lapel_gateway.devices.states import list_states
from lapel_gateway.devices.wanted import WantedError
from lapel_gateway.ledger.schema import DEVICE_ACTIVE
from lapel_gateway.web.access import may
from lapel_gateway.web.api.devices import enter_team_settings, judging
from lapel_gateway.web.guard import Guard
from lapel_gateway.web.pages.device_settings import NOTICE, NOTICE_POLICY
from lapel_gateway.web.pages.frame import Pages
from lapel_gateway.web.pages.people import PEOPLE_PATH
from lapel_gateway.web.pages.shown_times import LocalTimes, span_text
from lapel_gateway.web.pages.visit import sentence

TEAMS_PATH = PEOPLE_PATH + "/teams"

DONE = "It is set, and each device is told with its next sign of life."

P = Permission
Sees = Annotated[Principal, Depends(may(P.SEE_PEOPLE))]
Sets = Annotated[Principal, Depends(may(P.SET_DEVICES))]
Field = Annotated[str, Form(max_length=1000)]
Done = Annotated[str, Query(max_length=20)]


def install(app: FastAPI, pages: Pages, ladders: list[Ladder]) -> None:
    """Add the page to ``app``; ``ladders``: the policies as configured."""
    guard = pages.guard

    @app.get(TEAMS_PATH, include_in_schema=False)
    def teams_page(request: Request, user: Sees, done: Done = "") -> Response:
        return _teams(request, user, DONE if done == "notice" else "", good=True)

    @app.post(TEAMS_PATH + "/notice", include_in_schema=False)
    def set_notice(request: Request, user: Sets, team: Field = "", policy: Field = "") -> Response:
        try:
            enter_team_settings(guard, user, team, {NOTICE_POLICY.name: NOTICE_POLICY.parse(policy)})
        except WantedError as error:
            return _teams(request, user, sentence(error), good=False)
        return pages.go(f"{TEAMS_PATH}?done=notice")

    def _teams(request: Request, user: Principal, told: str, *, good: bool) -> Response:
        everybody = people.list_people(guard.engine)
        teams = sorted({one.team for one in everybody if one.team}, key=str.casefold)
        shown = ladders if user.may(P.SEE_CHANNELS) else []
        notices = _notices(guard) if user.may(P.SEE_DEVICES) else None
        return pages.show(
            request,
            "teams.html",
            HTTPStatus.OK if good else HTTPStatus.CONFLICT,
            told=told,
            good=good,
            at=LocalTimes(guard.installed.policies.zone, guard.now_ms()),
            span=span_text,
            hours=hours_words,
            teams=[
                (
                    team,
                    [one for one in everybody if one.team == team],
                    [one for one in shown if one.concerns(team)],
                    None if notices is None else sorted(notices.get(team, Counter()).items()),
                )
                for team in teams
            ],
            policies_of_notice=NOTICE,
            sets=user.may(P.SET_DEVICES),
            without=[one for one in everybody if not one.team],
            ladders=shown,
            rules=guard.installed.rules,
        )


def _notices(guard: Guard) -> dict[str, Counter[int]]:
    """How many of the devices that each team's people have have which notice policy."""
    found: dict[str, Counter[int]] = {}
    for one in list_states(guard.engine, judging(guard)):
        if one["state"] == DEVICE_ACTIVE and one["team"]:
            found.setdefault(one["team"], Counter())[one["settings"]["notice_policy"]] += 1
    return found
