"""Mutual TLS from the real MicroPython to a real Mosquitto while the device's clock stands years back.

The clock is the device's own: TLS asks the one that the firmware sets (lapel_sim.tlsclock), and an RP2040's shows
2021-01-01 when it is switched on.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from lapel_gateway import pki
from lapel_sim.device import SimDevice
from lapel_sim.provision import provision
from lapel_sim.world import World
from tests.scenarios.conftest import assert_sound
from tests.scenarios.site import GatewaySite

pytestmark = [pytest.mark.needs("micropython", "mosquitto")]


def unix_s(year: int, month: int = 1, day: int = 1) -> int:
    return int(datetime.datetime(year, month, day, tzinfo=datetime.UTC).timestamp())


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with World(tmp_path / "world", seed=3) as made:
        yield made
        assert_sound(made)


@pytest.fixture
def make_site(tmp_path: Path, free_port: int) -> Iterator[list[GatewaySite]]:
    """Filled by the test, ended here."""
    made: list[GatewaySite] = []
    yield made
    for site in made:
        site.stop()


def device_of(world: World, site: GatewaySite, folder: Path, shows: int, built: int) -> SimDevice:
    """A device whose clock shows `shows` at power-on, with firmware built at `built` (Unix seconds, 0 = not told)."""
    site.package("camera", folder)
    config = json.loads((folder / "config.json").read_text())
    config["build_ms"] = built * 1000
    (folder / "config.json").write_text(json.dumps(config))
    device = world.add_device("camera")
    device.clock_start_s = shows
    provision(device, folder)
    return device


def complaint(device: SimDevice, world: World) -> str:
    """What the device says of its connection, after two attempts."""
    world.wait_until(lambda: device.link.connections >= 2, what="two attempts")
    [line] = [entry["line"] for entry in world.journal.entries("console") if "uplink" in entry["line"]]
    return str(line)


def test_a_device_whose_clock_stands_at_its_build_time_in_2021_gets_through_mutual_tls(
    world: World, make_site: list[GatewaySite], tmp_path: Path, free_port: int
) -> None:
    site = GatewaySite(tmp_path / "gateway", free_port, "mosquitto")
    make_site.append(site)
    device = device_of(world, site, tmp_path / "package", unix_s(2021), unix_s(2021, 6))
    device.power_on()
    world.wait_until(lambda: site.device("camera")["boot"] is not None, what="a hello over TLS")
    device.hold("ALARM", 2300)
    device.wait_shown("alarm received", timeout_s=30)
    [alarm] = site.alarms()
    # The gateway has told it the time by then, which the alarm carries.
    assert abs(alarm["raised_wall_ms"] - alarm["received_ms"]) < 10_000
    device.hold("RECORD", 1700)
    device.wait_shown("recording stopped")
    # A second power-on: the clock has forgotten, the stored time has not.
    device.switch_off()
    device.power_on()
    world.wait_until(lambda: (site.device("camera")["boot"] or 0) > 0, what="a hello of the second boot")


def test_that_device_refuses_a_broker_whose_certificate_is_not_backdated(
    world: World, make_site: list[GatewaySite], tmp_path: Path, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So the clock of the test above was 2021 indeed, and backdating is what lets it through."""
    monkeypatch.setattr(pki, "BACKDATED_TO", datetime.datetime(2023, 1, 1, tzinfo=datetime.UTC))
    site = GatewaySite(tmp_path / "gateway", free_port, "mosquitto")
    make_site.append(site)
    device = device_of(world, site, tmp_path / "package", unix_s(2021), unix_s(2021, 6))
    device.power_on()
    assert "future" in complaint(device, world)
    assert site.device("camera")["boot"] is None


def test_a_device_that_did_not_raise_its_clock_would_never_get_through(
    world: World, make_site: list[GatewaySite], tmp_path: Path, free_port: int
) -> None:
    """A clock that starts in 1970, and firmware that was not told when it was built."""
    site = GatewaySite(tmp_path / "gateway", free_port, "mosquitto")
    make_site.append(site)
    device = device_of(world, site, tmp_path / "package", 0, 0)
    device.power_on()
    assert "future" in complaint(device, world)
    assert site.device("camera")["boot"] is None
