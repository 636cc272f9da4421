"""Provisioning, listing and ending devices."""

import json
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from lapel_gateway.keystore import KeyStore
from lapel_gateway.ledger import fresh_ledger, open_ledger, reading
from lapel_gateway.ledger.schema import DEVICE_LOST, DEVICE_RETIRED
from lapel_gateway.ledger.schema import device as devices
from lapel_gateway.pki import Pki
from lapel_gateway.registry import Package, Registry, RegistryError
from lapel_protocol.keys import chain_start
from lapel_protocol.wrap import key_id
from tests.support.device import organisation_key
from tests.support.pair import DevicePair

NOW_MS = 1_700_000_000_000


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    fresh_ledger(tmp_path / "ledger.sqlite")
    return Registry(open_ledger(tmp_path / "ledger.sqlite"), KeyStore(bytes(32)))


def provision(registry: Registry, name: str = "camera 7", **options: object) -> Package:
    person = str(options.get("person", "Zoë Quinn"))
    settings = options.get("settings")
    assert settings is None or isinstance(settings, dict)
    return registry.provision(
        name, person, organisation_key(), "broker.example.org", 8883, "broker", NOW_MS, NOW_MS - 5, None, settings
    )


def test_a_device_gets_what_it_needs_and_the_gateway_keeps_what_matches_it(registry: Registry) -> None:
    package = provision(registry, settings={"heartbeat_s": 60})
    with reading(registry._engine) as connection:
        trust = registry.trust(connection, [package.device])[package.device]
    assert package.chain_key == chain_start(trust.k_dev, package.device)
    assert package.config == {
        "device": package.device.hex(),
        "org_modulus": organisation_key().modulus.hex(),
        "key_id": key_id(organisation_key().modulus).hex(),
        "host": "broker.example.org",
        "port": 8883,
        "tls": False,
        "server_hostname": "broker",
        "build_ms": NOW_MS - 5,
        "settings": {"heartbeat_s": 60},
    }
    assert (trust.state, trust.person, trust.minimum_suite, trust.authenticated_epoch) == ("active", "Zoë Quinn", 1, 0)


def test_every_provisioning_makes_a_device_of_its_own(registry: Registry) -> None:
    first, second = provision(registry, "one"), provision(registry, "two")
    assert len({first.device, second.device}) == 2
    assert len({first.chain_key, second.chain_key, first.pool, second.pool}) == 4


def test_the_ledger_holds_neither_the_devices_key_nor_its_pool(registry: Registry, tmp_path: Path) -> None:
    package = provision(registry)
    with reading(registry._engine) as connection:
        k_dev = registry.trust(connection, [package.device])[package.device].k_dev
        row = connection.execute(devices.select()).one()
    assert k_dev not in row.sealed_key
    everything = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert row.sealed_key in everything
    for secret in (k_dev, package.pool, package.chain_key):
        assert secret not in everything


def test_no_secret_shows_in_what_is_printed(registry: Registry) -> None:
    package = provision(registry)
    with reading(registry._engine) as connection:
        trust = registry.trust(connection, [package.device])[package.device]
    for text in (repr(package), repr(trust)):
        for secret in (package.chain_key, package.pool, trust.k_dev):
            assert repr(secret) not in text
            assert secret.hex() not in text


def test_the_package_is_written_with_its_certificate(registry: Registry, tmp_path: Path) -> None:
    pki = Pki.ensure(tmp_path / "pki", "Test")
    package = registry.provision(
        "camera 7", "", organisation_key(), "broker", 8883, "broker", NOW_MS, NOW_MS, pki.issue_device
    )
    folder = tmp_path / "package"
    package.write(folder)
    files = {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}
    assert files == {"config.json", "tls/ca.der", "tls/cert.der", "tls/key.der"}
    assert json.loads((folder / "config.json").read_text()) == {**package.config, "tls": True}
    assert (folder / "tls" / "key.der").stat().st_mode & 0o077 == 0
    with pytest.raises(FileExistsError):
        package.write(folder)


def test_two_active_devices_cannot_have_the_same_name_and_a_retired_ones_is_free(registry: Registry) -> None:
    first = provision(registry)
    with pytest.raises(RegistryError, match="retire it first"):
        provision(registry)
    registry.retire(first.device.hex(), NOW_MS)
    assert provision(registry).device != first.device


def test_many_devices_are_provisioned_together_all_or_none(registry: Registry) -> None:
    def provision_many(*names: str) -> list[Package]:
        wearers = [(name, "") for name in names]
        return registry.provision_many(wearers, organisation_key(), "broker", 1883, "broker", NOW_MS, NOW_MS)

    made = provision_many("camera 1", "camera 2")
    assert len({package.device for package in made}) == 2
    assert [info.name for info in registry.list()] == ["camera 1", "camera 2"]
    with pytest.raises(RegistryError, match="same name"):
        provision_many("camera 3", "camera 3")
    with pytest.raises(RegistryError, match="camera 2"):
        provision_many("camera 3", "camera 2")
    assert len(registry.list()) == 2


def test_retired_and_lost_devices_stay_known_with_their_keys(registry: Registry) -> None:
    retired, lost = provision(registry, "one"), provision(registry, "two")
    registry.retire(retired.device.hex(), NOW_MS + 1)
    registry.mark_lost(lost.device.hex(), NOW_MS + 2)
    assert [(info.name, info.state, info.ended_ms) for info in registry.list()] == [
        ("one", DEVICE_RETIRED, NOW_MS + 1),
        ("two", DEVICE_LOST, NOW_MS + 2),
    ]
    with reading(registry._engine) as connection:
        assert set(registry.trust(connection, [retired.device, lost.device])) == {retired.device, lost.device}


def test_a_device_is_found_by_its_id_a_beginning_of_it_or_its_name(registry: Registry) -> None:
    device = provision(registry).device.hex()
    provision(registry, "camera 8")
    assert {registry.find(text) for text in (device, device[:8].upper(), "camera 7")} == {device}
    for text in ("camera 9", "", device[:3]):
        with pytest.raises(RegistryError, match="names no device"):
            registry.find(text)


def test_a_damaged_key_stops_its_own_device_only_and_is_told_once(registry: Registry) -> None:
    first, second = provision(registry, "one"), provision(registry, "two")
    with registry._engine.begin() as connection:
        connection.exec_driver_sql("UPDATE device SET sealed_key = zeroblob(60) WHERE name = 'one'")
    with capture_logs() as lines, reading(registry._engine) as connection:
        for _ in range(3):
            assert set(registry.trust(connection, [first.device, second.device])) == {second.device}
    assert [line["event"] for line in lines] == ["device cannot be verified"]


@pytest.mark.parametrize("name", ["", "  ", "a" * 81, "bell\a", "two\nlines\x1b[31m"])
def test_a_name_that_would_spoil_a_table_is_refused(registry: Registry, name: str) -> None:
    with pytest.raises(RegistryError, match="printable"):
        provision(registry, name)
    assert registry.list() == []


@pytest.mark.parametrize("settings", [{"shoe_size": 9}, {"heartbeat_s": 1}, {"silent": -1}, {"heartbeat_s": 1 << 40}])
def test_settings_that_the_device_would_refuse_are_refused_here(registry: Registry, settings: dict[str, int]) -> None:
    with pytest.raises(RegistryError, match="setting"):
        provision(registry, settings=settings)
    assert registry.list() == []


def test_an_unknown_device_cannot_be_changed(registry: Registry) -> None:
    with pytest.raises(RegistryError, match="there is no device"):
        registry.retire("00" * 8, NOW_MS)
    with pytest.raises(RegistryError, match="there is no device"):
        registry.assign("00" * 8, "Zoë")


def test_who_wears_a_device_later_does_not_change_what_was_recorded_before(pair: DevicePair) -> None:
    device = pair.one
    first = device.record(1)
    pair.send(*first.messages())
    pair.raise_alarm(device.alarm())
    pair.registry.assign(device.name, "Ben Okri")
    second = device.record(1)
    pair.send(*second.messages())
    pair.raise_alarm(device.alarm())
    assert [row["person"] for row in pair.rows("clip")] == ["Zoë Quinn", "Ben Okri"]
    assert [row["person"] for row in pair.rows("alarm")] == ["Zoë Quinn", "Ben Okri"]
