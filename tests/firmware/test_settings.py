"""Configuration and settings: wrong ones are refused by name, good ones outlive a restart."""

import json

import pytest

from lapel_device.configuration import CONFIG_PATH, load_config
from lapel_device.settings import SETTINGS_PATH, ConfigError, Settings
from lapel_protocol.orders import POLICY_START, SettingsChange
from tests.firmware.desk import DEVICE, MODULUS, DeskStorage, config_fields, spoil


def stored(fields: object) -> DeskStorage:
    storage = DeskStorage()
    storage.put(CONFIG_PATH, fields if isinstance(fields, bytes) else json.dumps(fields).encode())
    return storage


def test_a_good_configuration_is_read() -> None:
    config = load_config(stored(config_fields({"notice_timeout_ms": 5000, "notice_policy": POLICY_START})))
    assert (config.device, config.modulus, config.host, config.port) == (DEVICE, MODULUS, "broker.test", 8883)
    assert (config.settings.notice_timeout_ms, config.settings.notice_policy) == (5000, POLICY_START)
    assert config.settings.version == 0
    assert (config.cancel_pin, config.duress_pin, config.tamper) == ("", "", False)


def test_pins_are_four_to_eight_pushes_and_either_may_be_off() -> None:
    config = load_config(stored({**config_fields(), "cancel_pin": "SLSS", "duress_pin": "LLLLLLLL", "tamper": True}))
    assert (config.cancel_pin, config.duress_pin, config.tamper) == ("SLSS", "LLLLLLLL", True)
    assert load_config(stored({**config_fields(), "duress_pin": "SSSS"})).duress_pin == "SSSS"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"device": "01"}, "device"),
        ({"device": "zz02030405060708"}, "device"),
        ({"org_modulus": "00" * 384}, "org_modulus"),
        ({"org_modulus": None}, "org_modulus"),
        ({"key_id": "00" * 8}, "key_id"),
        ({"host": ""}, "host"),
        ({"host": 5}, "host"),
        ({"port": 0}, "port"),
        ({"port": "1883"}, "port"),
        ({"tls": True, "server_hostname": ""}, "server_hostname"),
        ({"build_ms": -1}, "build_ms"),
        ({"cancel_pin": "SSS"}, "cancel_pin is not 4 to 8 letters S and L"),
        ({"cancel_pin": "SSSSSSSSS"}, "cancel_pin"),
        ({"cancel_pin": "SLSX"}, "cancel_pin"),
        ({"duress_pin": 4}, "duress_pin"),
        ({"cancel_pin": "SLSL", "duress_pin": "SLSL"}, "the same"),
        ({"settings": []}, "settings"),
        ({"settings": {"volume": 3}}, "unknown setting volume"),
        ({"settings": {"version": 3}}, "unknown setting version"),
        ({"settings": {"heartbeat_s": 4}}, "out of range"),
        ({"settings": {"heartbeat_s": "30"}}, "heartbeat_s"),
    ],
)
def test_a_wrong_field_is_refused_by_name(change: dict[str, object], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        load_config(stored({**config_fields(), **change}))


@pytest.mark.parametrize(
    ("content", "named"), [(b"{", "not JSON"), (b"[]", "not a JSON object"), (b" " * 5000, "longer than 4096")]
)
def test_a_file_that_is_no_configuration_is_refused(content: bytes, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        load_config(stored(content))


def test_a_missing_configuration_is_named() -> None:
    with pytest.raises(ConfigError, match="json is missing"):
        load_config(DeskStorage())


def wanted(version: int, heartbeat_s: int = 60) -> SettingsChange:
    change = SettingsChange()
    change.version = version
    change.heartbeat_s = heartbeat_s
    return change


def test_a_change_is_in_force_at_once_and_after_a_restart() -> None:
    storage = DeskStorage()
    settings = Settings(storage, SettingsChange())
    assert settings.change(wanted(3))
    assert settings.current.heartbeat_s == 60
    storage.power_cut()
    after = Settings(storage, SettingsChange())
    after.load()
    assert (after.current.version, after.current.heartbeat_s) == (3, 60)


def test_a_repeated_version_changes_nothing_and_one_of_a_restored_gateway_is_taken() -> None:
    settings = Settings(DeskStorage(), SettingsChange())
    assert settings.change(wanted(3))
    assert not settings.change(wanted(3, 90))
    assert settings.current.heartbeat_s == 60
    assert settings.change(wanted(2, 90))
    assert settings.current.heartbeat_s == 90


@pytest.mark.parametrize("step", range(4))
def test_a_power_cut_while_settings_are_kept_leaves_the_old_or_the_new_ones(step: int) -> None:
    storage = DeskStorage()
    Settings(storage, SettingsChange()).change(wanted(3, 60))
    storage.fail_after = step
    settings = Settings(storage, SettingsChange())
    settings.load()
    try:
        settings.change(wanted(4, 90))
        finished = True
    except OSError:
        finished = False
    assert settings.current.heartbeat_s == 90
    storage.power_cut()
    storage.fail_after = -1
    after = Settings(storage, SettingsChange())
    after.load()
    assert after.current.heartbeat_s in ((90,) if finished else (60, 90))


@pytest.mark.parametrize("at", range(0, 20, 3))
def test_spoilt_settings_are_ignored(at: int) -> None:
    storage = DeskStorage()
    Settings(storage, SettingsChange()).change(wanted(3))
    for which in "01":
        spoil(storage, SETTINGS_PATH + which, at)
    settings = Settings(storage, SettingsChange())
    settings.load()
    assert settings.current.version == 0
