"""Settings wanted on devices: one changed leaves the others as they were, and the device hears of it soon."""

from __future__ import annotations

import json

import pytest
import sqlalchemy as sa

from lapel_gateway.devices.wanted import NAMES, WantedError, change_settings, settings_of, version_of, want_of_team
from lapel_gateway.ledger import writing
from lapel_gateway.ledger.schema import device as devices
from lapel_gateway.people import set_person
from lapel_gateway.registry import Registry
from lapel_protocol.command import SETTINGS
from lapel_protocol.errors import Replayed
from lapel_protocol.orders import SettingsChange
from tests.support.device import organisation_key
from tests.support.pair import DevicePair, bodies

PROVISIONED = {"man_down": 1, "notice_policy": 1, "heartbeat_s": 60}


def told(pair: DevicePair, *messages: tuple[str, bytes]) -> list[SettingsChange]:
    """The settings that the device hears and takes in answer."""
    found: list[SettingsChange] = bodies(pair.send(*messages), SETTINGS)
    return found


def entered(registry: Registry, name: str, person: str, settings: dict[str, int] | None = None) -> str:
    """A device in the registry; its id."""
    package = registry.provision(name, person, organisation_key(), "broker", 8883, "broker", 5, 5, None, settings)
    return package.device.hex()


def text_of(pair: DevicePair, device: str) -> str:
    [row] = [row for row in pair.rows("device") if row["device"] == device]
    text: str = row["settings"]
    return text


def test_what_a_device_was_provisioned_with_is_told_to_nobody_and_stays_when_another_is_changed(
    pair: DevicePair,
) -> None:
    device = entered(pair.registry, "camera 8", "Ben Okri", PROVISIONED)
    with writing(pair.engine) as connection:  # the device of the pair, as if it had been provisioned so
        row = sa.update(devices).where(devices.c.device == pair.one.name)
        connection.execute(row.values(settings=text_of(pair, device)))
    assert told(pair, pair.one.hello()) == [], "it has them already"

    change_settings(pair.engine, pair.one.name, {"audio": 0})

    [heard] = told(pair, pair.one.heartbeat())
    assert (heard.version, heard.audio) == (1, 0)
    assert {name: vars(heard)[name] for name in PROVISIONED} == PROVISIONED


def test_a_change_is_told_with_the_next_sign_of_life_once_and_again_after_a_hello(pair: DevicePair) -> None:
    change_settings(pair.engine, pair.one.name, {"notice_policy": 1})
    [heard] = told(pair, pair.one.heartbeat())
    assert (heard.version, heard.notice_policy) == (1, 1)
    assert told(pair, pair.one.heartbeat()) == []
    [again] = told(pair, pair.one.hello())
    assert again.encode() == heard.encode()
    assert told(pair, pair.one.heartbeat()) == []

    change_settings(pair.engine, pair.one.name, {"notice_policy": 0})
    outcome = pair.outcome(pair.one.heartbeat())
    [last] = bodies(pair.one.take(outcome.downlinks), SETTINGS)
    assert (last.version, last.notice_policy) == (2, 0)
    with pytest.raises(Replayed):
        pair.one.take([message for message in outcome.downlinks if message[1][2] == SETTINGS])


def test_to_want_what_is_wanted_already_tells_nobody_anything(pair: DevicePair) -> None:
    change_settings(pair.engine, pair.one.name, {"audio": 1, "clip_limit_s": 3600})
    assert version_of(text_of(pair, pair.one.name)) == 0
    assert told(pair, pair.one.heartbeat()) == []


def test_a_teams_change_is_of_the_devices_that_its_people_have_now(pair: DevicePair) -> None:
    for person, team in (("Ben Okri", "North"), ("Cem Aydin", "North"), ("Dee Dunn", "South")):
        set_person(pair.engine, person, team, "", 5)
    first = entered(pair.registry, "unit 1", "Ben Okri", {"man_down": 1})
    second = entered(pair.registry, "unit 2", "Cem Aydin")
    other = entered(pair.registry, "unit 3", "Dee Dunn")
    gone = entered(pair.registry, "unit 4", "Cem Aydin")
    pair.registry.retire(gone, 6)

    with writing(pair.engine) as connection:
        assert want_of_team(connection, "North", {"notice_policy": 1}) == [first, second]

    wanted = {one: settings_of(text_of(pair, one)) for one in (first, second, other, gone)}
    assert [wanted[one]["notice_policy"] for one in (first, second, other, gone)] == [1, 1, 0, 0]
    assert wanted[first]["man_down"] == 1
    for team in ("East", ""):
        with writing(pair.engine) as connection, pytest.raises(WantedError, match="nobody of the team"):
            want_of_team(connection, team, {"notice_policy": 1})


@pytest.mark.parametrize(
    "changes", [{"shoe_size": 9}, {"version": 7}, {"heartbeat_s": 1}, {"silent": -1}, {"man_down": 2}]
)
def test_what_a_device_would_refuse_changes_nothing(pair: DevicePair, changes: dict[str, int]) -> None:
    before = text_of(pair, pair.one.name)
    with pytest.raises(WantedError, match="setting"):
        change_settings(pair.engine, pair.one.name, {"audio": 0, **changes})
    assert text_of(pair, pair.one.name) == before
    with pytest.raises(WantedError, match="there is no device"):
        change_settings(pair.engine, "00" * 8, {"audio": 0})


def test_every_setting_has_its_word() -> None:
    assert set(settings_of("")) == set(NAMES) == set(vars(SettingsChange())) - {"version"}
    assert settings_of(json.dumps({"version": 3, "audio": 0}))["audio"] == 0
