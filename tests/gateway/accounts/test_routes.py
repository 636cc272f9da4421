"""Who may do what: every route times every role, and whoever is nobody (any more). A new route needs a line here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from lapel_gateway.accounts.permissions import ROLE_NAMES, ROLES
from lapel_gateway.accounts.provider import Provider
from lapel_gateway.accounts.tokens import DAY_MS, add_token
from lapel_gateway.accounts.users import disable_user
from lapel_gateway.alarms.ack_links import AckLinks
from lapel_gateway.settings.accounts import AccountsSection
from lapel_gateway.viewing.assembly import Views
from lapel_gateway.web.access import declared, routes_of
from lapel_gateway.web.app import build_app
from lapel_gateway.web.guard import FORM_HEADER
from lapel_gateway.web.installed import Installed
from tests.gateway.accounts.office import NOW_MS, Office, opened
from tests.support.accounts import BY

EVERYBODY = frozenset(ROLE_NAMES)


@dataclass(frozen=True)
class Row:
    """What a route answers those who may: about what is not there mostly, so that nothing is changed."""

    roles: frozenset[str]
    answer: int
    body: Any = None
    form: Any = None
    token_answer: int | None = None
    """What it answers a token; None = the same."""


def row(roles: str, answer: int, body: Any = None, form: Any = None, token_answer: int | None = None) -> Row:
    return Row(frozenset(roles.split()), answer, body, form, token_answer)


def page(answer: int, form: Any = None) -> Row:
    return Row(EVERYBODY, answer, form=form or {}, token_answer=403)


A = "/api/v1"
STREAM = ("GET", f"{A}/stream")
"""Its answer does not end."""

TABLE: dict[tuple[str, str], Row] = {
    ("GET", f"{A}/alarms"): row("wearer responder evidence auditor", 200),
    ("GET", f"{A}/alarms/{{alarm_id}}"): row("wearer responder evidence auditor", 404),
    ("POST", f"{A}/alarms/{{alarm_id}}/acknowledge"): row("responder", 404),
    ("POST", f"{A}/alarms/{{alarm_id}}/resolve"): row("responder", 404, {"reason": "true"}),
    ("POST", f"{A}/alarms/{{alarm_id}}/notes"): row("responder", 404, {"note": "x"}),
    ("GET", f"{A}/clips"): row("wearer responder evidence auditor", 200),
    ("GET", f"{A}/clips/{{clip_id}}"): row("wearer responder evidence auditor", 404),
    ("GET", f"{A}/clips/{{clip_id}}/media/{{kind}}"): row("wearer responder evidence", 404),
    ("GET", f"{A}/clips/{{clip_id}}/frames"): row("wearer responder evidence", 404),
    ("GET", f"{A}/clips/{{clip_id}}/thumbnail"): row("wearer responder evidence auditor", 404),
    ("GET", f"{A}/clips/{{clip_id}}/views"): row("wearer evidence operator auditor", 404),
    ("POST", f"{A}/clips/{{clip_id}}/views"): row("wearer responder evidence", 404, {}),
    ("GET", f"{A}/clips/{{clip_id}}/export-requests"): row("evidence auditor", 404),
    ("POST", f"{A}/clips/{{clip_id}}/export-requests"): row("evidence", 404, {}),
    ("POST", f"{A}/clips/{{clip_id}}/export-requests/{{number}}/approve"): row("evidence", 404),
    ("GET", f"{A}/clips/{{clip_id}}/export-requests/{{number}}/file"): row("evidence", 404),
    ("GET", f"{A}/clip-views"): row("wearer", 200),
    ("GET", f"{A}/clips/{{clip_id}}/picture"): row("wearer responder evidence", 404),
    ("GET", f"{A}/clips/{{clip_id}}/disclosures"): row("evidence auditor", 404),
    ("POST", f"{A}/clips/{{clip_id}}/disclosures"): row("evidence", 404, {"kind": "police", "recipient": "x"}),
    ("GET", f"{A}/live"): row("responder evidence technician operator auditor", 200),
    STREAM: row("responder evidence technician operator auditor", 200),
    ("GET", f"{A}/devices"): row("responder evidence technician operator auditor", 200),
    ("GET", f"{A}/devices/{{device}}"): row("responder evidence technician operator auditor", 404),
    ("GET", f"{A}/devices/{{device}}/health"): row("responder evidence technician operator auditor", 404),
    ("POST", f"{A}/devices/{{device}}/issue"): row("responder technician", 404, {"person": "x"}),
    ("POST", f"{A}/devices/{{device}}/return"): row("responder technician", 404, {}),
    ("PATCH", f"{A}/devices/{{device}}/settings"): row("technician operator", 404, {"audio": 0}),
    ("PATCH", f"{A}/team-settings"): row("technician operator", 409, {"team": "North", "settings": {"audio": 0}}),
    ("GET", f"{A}/channels"): row("responder technician operator auditor", 200),
    ("GET", f"{A}/policies"): row("responder technician operator auditor", 200),
    ("GET", f"{A}/reports/response"): row("responder evidence operator auditor", 200),
    ("GET", f"{A}/reports/trial"): row("responder evidence operator auditor", 200),
    ("GET", f"{A}/visits"): row("wearer responder auditor", 200),
    ("GET", f"{A}/visits/{{number}}"): row("wearer responder auditor", 404),
    ("POST", f"{A}/visits"): row("wearer responder", 422, {"place": " "}),
    ("POST", f"{A}/visits/{{number}}/start"): row("wearer responder", 404),
    ("POST", f"{A}/visits/{{number}}/check-in"): row("wearer responder", 404),
    ("POST", f"{A}/visits/{{number}}/extend"): row("wearer responder", 404, {}),
    ("POST", f"{A}/visits/{{number}}/end"): row("wearer responder", 404, {}),
    ("POST", f"{A}/visits/{{number}}/cancel"): row("wearer responder", 404, {}),
    ("GET", f"{A}/risks"): row("wearer responder", 200),
    ("POST", f"{A}/risks"): row("responder", 422, {"note": "x", "review": "never"}),
    ("POST", f"{A}/risks/{{number}}/review"): row("responder", 422, {"review": "never"}),
    ("POST", f"{A}/risks/{{number}}/end"): row("responder", 422),
    ("GET", f"{A}/people"): row("responder evidence technician operator auditor", 200),
    ("PUT", f"{A}/people/{{name}}"): row("responder operator", 200, {"team": "North"}),
    ("GET", f"{A}/me"): Row(EVERYBODY, 200),
    ("GET", f"{A}/users"): row("operator", 200),
    ("POST", f"{A}/users"): row("operator", 422, {"name": " ", "roles": ["wearer"]}),
    ("PUT", f"{A}/users/{{name}}/roles"): row("operator", 404, {"roles": ["wearer"]}),
    ("POST", f"{A}/users/{{name}}/setup-link"): row("operator", 404, {}),
    ("POST", f"{A}/users/{{name}}/disable"): row("operator", 404),
    ("POST", f"{A}/users/{{name}}/enable"): row("operator", 404),
    ("GET", f"{A}/sessions"): Row(EVERYBODY, 200),
    ("DELETE", f"{A}/sessions/{{number}}"): Row(EVERYBODY, 404),
    ("GET", f"{A}/audit"): row("operator auditor", 200),
    ("GET", f"{A}/me/audit"): Row(EVERYBODY, 200),
    ("GET", f"{A}/openapi.json"): Row(EVERYBODY, 200),
    ("GET", "/"): Row(EVERYBODY, 303),
    ("GET", "/live"): row("responder evidence technician operator auditor", 200),
    ("POST", "/live/alarms/{alarm_id}/acknowledge"): row("responder", 404, form={}),
    ("POST", "/live/alarms/{alarm_id}/resolve"): row("responder", 404, form={"reason": "true"}),
    ("POST", "/live/alarms/{alarm_id}/notes"): row("responder", 404, form={"note": "x"}),
    ("GET", "/clips"): row("wearer responder evidence auditor", 200),
    ("GET", "/clips/{clip_id}"): row("wearer responder evidence auditor", 404),
    ("POST", "/clips/{clip_id}/look"): row("wearer responder evidence", 404, form={}),
    ("POST", "/clips/{clip_id}/disclosures"): row("evidence", 404, form={}),
    ("GET", "/visits"): row("wearer responder auditor", 200),
    ("GET", "/visits/new"): row("wearer responder", 200),
    ("POST", "/visits/new"): row("wearer responder", 422, form={"place": " "}),
    ("GET", "/visits/{number}"): row("wearer responder auditor", 404),
    ("POST", "/visits/{number}/start"): row("wearer responder", 404, form={}),
    ("POST", "/visits/{number}/check-in"): row("wearer responder", 404, form={}),
    ("POST", "/visits/{number}/extend"): row("wearer responder", 404, form={"minutes": "5"}),
    ("POST", "/visits/{number}/end"): row("wearer responder", 404, form={}),
    ("POST", "/visits/{number}/cancel"): row("wearer responder", 404, form={}),
    ("GET", "/risks"): row("wearer responder", 200),
    ("POST", "/risks"): row("responder", 422, form={"note": "x", "review": "never"}),
    ("POST", "/risks/{number}/review"): row("responder", 422, form={"review": "never"}),
    ("POST", "/risks/{number}/end"): row("responder", 404, form={}),
    ("GET", "/people"): row("responder evidence technician operator auditor", 200),
    ("GET", "/people/teams"): row("responder evidence technician operator auditor", 200),
    ("GET", "/people/new"): row("operator", 200),
    ("POST", "/people/new"): row("operator", 422, form={"name": " "}),
    ("GET", "/people/person"): row("responder evidence technician operator auditor", 404),
    ("POST", "/people/person"): row("responder operator", 404, form={"name": " "}),
    ("POST", "/people/person/roles"): row("operator", 404, form={"name": "Nobody", "role": "wearer"}),
    ("POST", "/people/person/setup-link"): row("operator", 404, form={"name": "Nobody"}),
    ("POST", "/people/person/disable"): row("operator", 404, form={"name": "Nobody"}),
    ("POST", "/people/person/enable"): row("operator", 404, form={"name": "Nobody"}),
    ("POST", "/people/person/sessions/end"): row("operator", 404, form={"name": "Nobody"}),
    ("GET", "/devices"): row("responder evidence technician operator auditor", 200),
    ("GET", "/devices/{device}"): row("responder evidence technician operator auditor", 404),
    ("POST", "/devices/{device}/issue"): row("responder technician", 404, form={"person": "x"}),
    ("POST", "/devices/{device}/return"): row("responder technician", 404, form={"note": ""}),
    ("POST", "/devices/{device}/settings"): row("technician operator", 404, form={"audio": "0"}),
    ("POST", "/people/teams/notice"): row("technician operator", 409, form={"team": "North", "policy": "1"}),
    ("GET", "/reports"): row("responder evidence operator auditor", 200),
    ("GET", "/reports/trial.csv"): row("responder evidence operator auditor", 200),
    ("GET", "/audit"): row("operator auditor", 200),
    ("GET", "/audit.csv"): row("operator auditor", 200),
    ("GET", "/account/log"): page(200),
    ("POST", "/clips/{clip_id}/export-requests"): row("evidence", 404, form={}),
    ("POST", "/clips/{clip_id}/export-requests/{number}/approve"): row("evidence", 404, form={}),
    ("GET", "/account"): page(200),
    ("POST", "/account/password"): page(422, {"old": "x", "new": "y", "again": "z"}),
    ("POST", "/account/authenticator"): page(422, {"password": ""}),
    ("POST", "/account/authenticator/remove"): page(422, {"password": ""}),
    ("POST", "/account/sessions/end"): page(404, {"number": "999999"}),
    ("POST", "/account/tokens"): page(422, {"name": " "}),
    ("POST", "/account/tokens/revoke"): page(422, {"name": "none"}),
}
"""What is asked of whom. Routes that only read are answered from an empty ledger."""

OPEN = {
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/metrics"),
    ("GET", "/static/{name}"),
    ("GET", "/login"),
    ("POST", "/login"),
    ("GET", "/login/code"),
    ("POST", "/login/code"),
    ("GET", "/login/authenticator"),
    ("POST", "/login/authenticator"),
    ("POST", "/logout"),
    ("GET", "/login/provider"),
    ("GET", "/login/provider/back"),
    ("GET", "/setup/{code}"),
    ("POST", "/setup/{code}"),
    ("GET", "/ack/{token}"),
    ("POST", "/ack/{token}"),
}
"""What asks for no account: monitoring, the way in, and links that are their own authority."""

NUMBER = "999999"


def path_of(path: str) -> str:
    for name in ("alarm_id", "clip_id", "device"):
        path = path.replace(f"{{{name}}}", "none")
    return path.replace("{number}", NUMBER).replace("{name}", "Nobody").replace("{kind}", "mp4")


def all_routes(engine: sa.Engine, folder: Path) -> dict[tuple[str, str], Any]:
    links = AckLinks(bytes(32))
    provider = Provider("https://login.example.org", "lapel", "secret", "openid", "name", "groups", {})
    app = build_app(engine, Views(folder), lambda: NOW_MS, Installed(links, provider=provider))
    return {(method, route.path): route for route in routes_of(app) for method in route.methods or ()}


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    plenty = AccountsSection(requests_per_min=1_000_000)
    with opened(tmp_path_factory.mktemp("routes"), accounts=plenty) as office:
        for role in ROLE_NAMES:
            office.add(role, [role])
        yield office


@pytest.fixture(scope="module")
def client(office: Office) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=office.url, trust_env=False, timeout=30) as client:
        yield client


@pytest.fixture(scope="module")
def tokens(office: Office) -> dict[str, str]:
    """A token of each role's user."""
    return {role: add_token(office.engine, role, "of the table", BY, NOW_MS) for role in ROLE_NAMES}


def ask(client: httpx.Client, key: tuple[str, str], headers: dict[str, str]) -> httpx.Response:
    method, path = key
    wanted = TABLE[key]
    request = client.build_request(method, path_of(path), headers=headers, json=wanted.body, data=wanted.form)
    response = client.send(request, stream=True)
    if key != STREAM or response.status_code != 200:
        response.read()
    response.close()
    return response


def as_session(office: Office, token: str) -> dict[str, str]:
    form = office.installed.seal.form_token(token)
    return {"cookie": f"lapel-session={token}", FORM_HEADER: form, "origin": office.url}


def test_every_route_has_its_line_and_every_line_its_route(office: Office, tmp_path: Path) -> None:
    found = all_routes(office.engine, tmp_path)

    assert {key for key, route in found.items() if declared(route) is not None} == set(TABLE)
    assert {key for key, route in found.items() if declared(route) is None} == OPEN


def test_the_table_says_what_the_roles_permissions_say(office: Office, tmp_path: Path) -> None:
    for key, route in all_routes(office.engine, tmp_path).items():
        if (asked := declared(route)) is not None:
            allowed = {role for role in ROLE_NAMES if not asked or ROLES[role] & set(asked)}
            assert TABLE[key].roles == allowed, key


@pytest.mark.parametrize("key", TABLE, ids=" ".join)
def test_a_route_answers_the_roles_of_its_line_and_refuses_the_others(
    office: Office, client: httpx.Client, tokens: dict[str, str], key: tuple[str, str]
) -> None:
    wanted = TABLE[key]
    for role in ROLE_NAMES:
        allowed = role in wanted.roles
        by_session = ask(client, key, as_session(office, office.session(role)))
        assert by_session.status_code == (wanted.answer if allowed else 403), role
        by_token = ask(client, key, {"authorization": f"Bearer {tokens[role]}"})
        expected = (wanted.token_answer or wanted.answer) if allowed else 403
        assert by_token.status_code == expected, role


@pytest.mark.parametrize("key", TABLE, ids=" ".join)
def test_a_route_refuses_whoever_is_nobody_or_nobody_any_more(
    office: Office, client: httpx.Client, key: tuple[str, str]
) -> None:
    name = f"ann {abs(hash(key))}"
    office.add(name, ROLE_NAMES)
    ended, expired = office.session(name), add_token(office.engine, name, "short", BY, NOW_MS - 2 * DAY_MS, days=1)
    half = office.session(name, "code")
    narrow = add_token(office.engine, name, "narrow", BY, NOW_MS, [_another(key)])
    assert ask(client, key, as_session(office, ended)).status_code == TABLE[key].answer
    office.clock[0] = NOW_MS + 61 * 60_000 + 1
    try:
        assert ask(client, key, as_session(office, ended)).status_code == 401
    finally:
        office.clock[0] = NOW_MS
    for headers in (
        {},
        {"authorization": "Bearer"},
        {"authorization": f"Bearer {expired}"},
        {"authorization": f"Basic {narrow}"},
        as_session(office, ended),
        as_session(office, half),
        as_session(office, "x" * 64),
    ):
        refused = ask(client, key, headers)
        assert refused.status_code == 401, refused.text
        assert refused.headers["www-authenticate"] == "Bearer"
        assert refused.headers["content-type"] == "application/problem+json"
    if TABLE[key].roles != EVERYBODY or key[1].startswith("/account"):
        assert ask(client, key, {"authorization": f"Bearer {narrow}"}).status_code == 403
    disable_user(office.engine, name, BY, NOW_MS)
    assert ask(client, key, {"authorization": f"Bearer {narrow}"}).status_code == 401


def _another(key: tuple[str, str]) -> str:
    """A permission that a route does not ask for."""
    opened_by_channels = (f"{A}/channels", f"{A}/policies", f"{A}/live", f"{A}/stream", "/live")
    return "see-reports" if key[1] in opened_by_channels else "see-channels"
