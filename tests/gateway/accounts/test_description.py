"""The API is what its description says: schemathesis makes requests of it, in this process, and judges the answers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from lapel_gateway.accounts.permissions import ROLE_NAMES
from lapel_gateway.alarms.core import AlarmCore
from lapel_gateway.settings.accounts import AccountsSection
from lapel_gateway.viewing.assembly import Views
from lapel_gateway.web import schema as description
from lapel_gateway.web.app import build_app
from lapel_gateway.web.installed import Installed
from lapel_protocol.clip import TRUST_GATEWAY
from lapel_protocol.event import ALARM_RAISED, Event, seal_event
from lapel_protocol.reports import ALARM_PANIC, AlarmRaised
from lapel_protocol.topics import LANE_ALARM, topic
from tests.gateway.accounts.test_routes import STREAM, TABLE
from tests.gateway.ledgers import new_ledger
from tests.gateway.sealed import BOOT, NOW_MS, Site
from tests.support.accounts import token_of

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
EXAMPLES = 20
DESCRIBED = sorted(key for key in TABLE if key[1].startswith("/api/") and key[1] != description.PATH)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[FastAPI, str]]:
    """The API over a ledger with a device, a clip and an alarm, and the token of somebody who may do everything."""
    folder = tmp_path_factory.mktemp("described")
    with new_ledger(folder) as engine:
        site = Site(folder, engine)
        site.hold(site.seal(b"plain", 5))
        device = bytes.fromhex(site.device)
        payload = AlarmRaised(ALARM_PANIC, 80, 5).encode()
        event = Event(ALARM_RAISED, device, BOOT, 2, NOW_MS, 9_000, TRUST_GATEWAY, payload)
        record = seal_event(site.epoch_keys(BOOT), event)
        assert AlarmCore(engine, site.registry).handle(topic(device, LANE_ALARM), record, NOW_MS + 500).downlinks
        plenty = AccountsSection(requests_per_min=1_000_000)
        token = token_of(engine, "Ann Archer", NOW_MS, ROLE_NAMES)
        yield build_app(engine, Views(folder / "views"), lambda: NOW_MS, Installed(accounts=plenty)), token


def test_the_description_is_for_those_who_are_logged_in_and_names_every_route(served: tuple[FastAPI, str]) -> None:
    app, token = served

    async def ask(headers: dict[str, str]) -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            return await client.get(description.PATH, headers=headers)

    assert asyncio.run(ask({})).status_code == 401
    told = asyncio.run(ask({"authorization": f"Bearer {token}"})).json()
    assert told["openapi"].startswith("3.1")
    found = {(method.upper(), path) for path, methods in told["paths"].items() for method in methods}
    assert found == {*DESCRIBED, ("GET", "/healthz")}
    for path, methods in told["paths"].items():
        for operation in methods.values():
            assert list(operation["responses"]["default"]["content"]) == ["application/problem+json"]
            assert ("security" in operation) == (path != "/healthz")


@pytest.mark.parametrize("key", [key for key in DESCRIBED if key != STREAM], ids=" ".join)
def test_every_answer_of_a_route_is_one_that_its_description_knows(
    served: tuple[FastAPI, str], key: tuple[str, str]
) -> None:
    app, token = served
    headers = {"authorization": f"Bearer {token}"}
    method, path = key
    operation = schemathesis.openapi.from_asgi(description.PATH, app, headers=headers)[path][method]
    seen: list[int] = []

    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy())
    def answers(case: Any) -> None:
        response = case.call(headers=headers)
        seen.append(response.status_code)
        case.validate_response(response, checks=CHECKS, headers=headers)

    answers()
    assert seen
    assert 401 not in seen
    assert 403 not in seen
