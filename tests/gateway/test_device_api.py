"""The API of devices: one whole, how it fared, handed out and taken back, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from lapel_gateway.accounts.audit import read_lines
from lapel_gateway.devices.self_tests import keep_self_test
from lapel_gateway.ledger import reading
from lapel_gateway.people import set_person
from lapel_gateway.settings.accounts import AccountsSection
from lapel_gateway.viewing.assembly import Views
from lapel_gateway.web.installed import Installed
from lapel_gateway.web.server import WebRole
from lapel_protocol.command import SETTINGS
from tests.gateway.test_device_health import HOUR, beat
from tests.support.accounts import token_of
from tests.support.pair import DevicePair, bodies

PASSED = [{"name": "camera", "outcome": "passed", "found": "", "remedy": ""}]


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[DevicePair]:
    """A device that is nobody's, charged and heard of."""
    pair = DevicePair(tmp_path / "gateway", devices=0)
    pair.device = pair.provision(1, "Camera 01", "")
    pair.now_ms = HOUR
    pair.greet()
    pair.send(beat(pair.one, 90))
    yield pair
    pair.stop()


@pytest.fixture
def client(pair: DevicePair, tmp_path: Path) -> Iterator[httpx.Client]:
    """A technician's program."""
    installed = Installed(accounts=AccountsSection(requests_per_min=100_000))
    role = WebRole(pair.engine, Views(tmp_path / "views"), "127.0.0.1", 0, lambda: pair.now_ms, installed)
    role.start()
    token = token_of(pair.engine, "Tess", pair.now_ms, ["technician"])
    base = f"{role.url}/api/v1/devices"
    with httpx.Client(base_url=base, headers={"authorization": f"Bearer {token}"}, trust_env=False) as client:
        yield client
    assert role.stop()


def test_a_device_is_handed_out_after_its_checks_and_taken_back(client: httpx.Client, pair: DevicePair) -> None:
    refused = client.post(f"/{pair.one.name}/issue", json={"person": "Ann Archer"})
    assert refused.status_code == 409
    assert "no self-test is on record" in refused.json()["detail"]
    assert pair.count("handover") == 0

    keep_self_test(pair.engine, pair.one.name, "board", PASSED, "Tess", pair.now_ms)
    done = client.post(f"/{pair.one.name}/issue", json={"person": "Ann Archer"})
    assert [one["good"] for one in done.json()["checks"]] == [True] * 4
    whole = client.get(f"/{pair.one.name}").json()
    assert (whole["person"], whole["out"], whole["checks"]) == ("Ann Archer", True, [])
    (given,) = whole["handovers"]
    assert (given["person"], given["issued"]["by"], given["issued_battery"]) == ("Ann Archer", "Tess", 90)
    assert "take it back first" in client.post(f"/{pair.one.name}/issue", json={"person": "Bo"}).json()["detail"]

    pair.send(beat(pair.one, 40, held=3))
    back = client.post(f"/{pair.one.name}/return", json={"note": "strap torn"})
    assert back.json()["left"] == ["it holds 3 clips of Ann Archer: keep it switched on and in reach until they are in"]
    assert client.get(f"/{pair.one.name}").json()["handovers"][0]["note"] == "strap torn"
    assert client.post(f"/{pair.one.name}/return", json={}).status_code == 409


def test_a_reason_is_kept_with_what_was_handed_out_in_spite_of_it(client: httpx.Client, pair: DevicePair) -> None:
    done = client.post(f"/{pair.one.name}/issue", json={"person": "Ann Archer", "in_spite": "nothing else is here"})
    assert [one["name"] for one in done.json()["checks"] if not one["good"]] == ["self-test"]
    assert client.get(f"/{pair.one.name}").json()["handovers"][0]["in_spite"] == "nothing else is here"


def test_how_it_fared_is_told_by_the_hour_of_the_period_that_is_asked_for(
    client: httpx.Client, pair: DevicePair
) -> None:
    (hour,) = client.get(f"/{pair.one.name}/health").json()["hours"]
    assert (hour["hour"]["ms"], hour["battery_percent_min"], hour["heartbeats"], hour["boots"]) == (HOUR, 80, 1, 1)
    assert client.get(f"/{pair.one.name}/health", params={"from": "2020-01-01", "to": "2020-01-31"}).json() == {
        "hours": []
    }
    assert client.get(f"/{pair.one.name}/health", params={"from": "2020-02-01", "to": "2020-01-31"}).status_code == 422


def test_a_list_says_what_wants_a_look(client: httpx.Client) -> None:
    (device,) = client.get(str(client.base_url).rstrip("/")).json()["devices"]
    assert device["link"] == "in contact"
    assert [one["level"] for one in device["attention"]] == ["warn"]


def test_a_setting_is_changed_and_said_until_the_device_was_told(client: httpx.Client, pair: DevicePair) -> None:
    before = client.get(f"/{pair.one.name}").json()
    assert (before["settings"]["notice_policy"], before["settings_told"]) == (0, True)
    changed = client.patch(f"/{pair.one.name}/settings", json={"notice_policy": 1, "heartbeat_s": 60}).json()
    assert changed == {"settings": before["settings"] | {"notice_policy": 1, "heartbeat_s": 60}, "told": False}

    [heard] = bodies(pair.send(beat(pair.one, 80)), SETTINGS)
    assert (heard.notice_policy, heard.heartbeat_s) == (1, 60)
    assert client.get(f"/{pair.one.name}").json()["settings_told"] is True

    for bad in ({"notice_policy": 2}, {"heartbeat_s": 4}, {"shoe_size": 9}, {"audio": "loud"}, {"version": 4}):
        refused = client.patch(f"/{pair.one.name}/settings", json=bad)
        assert refused.status_code == 422, bad
    assert bodies(pair.send(beat(pair.one, 80)), SETTINGS) == []
    with reading(pair.engine) as connection:
        details = [line.detail for line in read_lines(connection, 50) if line.what == "set devices"]
    assert details == ["notice_policy = 1, heartbeat_s = 60"]


def test_a_teams_devices_are_set_together(client: httpx.Client, pair: DevicePair) -> None:
    set_person(pair.engine, "Zoë Quinn", "North", "", pair.now_ms)
    pair.registry.assign(pair.one.name, "Zoë Quinn")
    where = str(client.base_url).replace("/devices", "") + "team-settings"
    done = client.patch(where, json={"team": "North", "settings": {"notice_policy": 1}})
    assert done.json() == {"devices": [pair.one.name]}
    refused = client.patch(where, json={"team": "South", "settings": {"notice_policy": 1}})
    assert (refused.status_code, "nobody of the team" in refused.json()["detail"]) == (409, True)
