"""Drills, cancels and duress on the real MicroPython, as a gateway sees them."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from lapel_protocol.reports import ALARM_DURESS, ALARM_PANIC
from lapel_sim.device import SimDevice
from lapel_sim.provision import provision
from lapel_sim.world import World

from .site import GatewaySite


@pytest.fixture
def site(tmp_path: Path, free_port: int) -> Iterator[GatewaySite]:
    """A gateway on the embedded broker."""
    made = GatewaySite(tmp_path / "gateway", free_port)
    yield made
    made.stop()


def worn(world: World, site: GatewaySite) -> SimDevice:
    """A device that was provisioned for drills, and with sequences for cancel and duress."""
    device = world.add_device("camera", "pico_w")
    folder = site.folder / "packages" / "camera"
    site.package("camera", folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(
        json.dumps({**config, "cancel_pin": "SLSS", "duress_pin": "SLLS", "drills": True})
    )
    provision(device, folder)
    device.power_on()
    device.wait_shown("idle")
    return device


def type_pin(device: SimDevice, symbols: str) -> None:
    for symbol in symbols:
        device.hold("RECORD", 800 if symbol == "L" else 120)


def test_a_drill_is_followed_by_a_real_alarm_and_both_are_the_gateways(world: World, site: GatewaySite) -> None:
    device = worn(world, site)
    device.hold("BOTH", 3300)
    device.wait_shown("alarm received")
    device.wait_shown("alarm is a test")
    assert not device.frames()
    device.hold("ALARM", 2300)
    device.wait_shown("alarm received")
    device.wait_shown("recording")
    world.wait_until(lambda: len(site.alarms()) == 2, what="two alarms")
    assert [row["kind"] for row in site.alarms()] == [ALARM_PANIC, ALARM_PANIC]


def test_a_cancel_and_duress_are_typed_on_one_button(world: World, site: GatewaySite) -> None:
    device = worn(world, site)
    device.hold("ALARM", 2300)
    device.wait_shown("recording")
    type_pin(device, "SLSS")
    device.wait_shown("cancel sent")
    world.wait_until(lambda: site.alarms() and site.alarms()[0]["cancelled_ms"], what="the cancel")
    type_pin(device, "SLLS")
    world.wait_until(lambda: len(site.alarms()) == 2, what="the alarm under duress")
    assert [row["kind"] for row in site.alarms()] == [ALARM_PANIC, ALARM_DURESS]
