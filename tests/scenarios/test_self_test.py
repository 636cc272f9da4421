"""Self-tests at a device's heap size, and the way to the gateway on a real broker: where it ends is named."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lapel_sim.device import SimDevice
from lapel_sim.world import World
from lapel_tools.technician.self_test_way import Way, judge_broker, judge_gateway
from tests.scenarios.conftest import run_program
from tests.scenarios.site import GatewaySite

pytestmark = pytest.mark.needs("micropython")

TESTS = (
    "basics.cryptography",
    "basics.entropy",
    "basics.clock",
    "basics.battery",
    "storage.key_sectors",
    "storage.flash",
    "hands.free",
    "senses.camera",
    "senses.microphone",
    "senses.accelerometer",
    "senses.gnss",
)


@pytest.fixture
def site(tmp_path: Path, free_port: int) -> Iterator[GatewaySite]:
    """A gateway on Mosquitto with TLS and client certificates."""
    made = GatewaySite(tmp_path / "gateway", free_port, "mosquitto")
    yield made
    made.stop()


def answers(world: World, device: SimDevice) -> list[Any]:
    lines = [entry["line"] for entry in world.journal.entries("console", device=device.name)]
    return [ast.literal_eval(line[1:]) for line in lines if line.startswith("=")]


def way_of(world: World, device: SimDevice, seconds: int) -> Way:
    """What a device wrote down of its way to the gateway."""
    run_program(device, "tester", "gateway", str(seconds))
    world.wait_until(lambda: not device.running or _over(world, device), 60 + 2 * seconds)
    return Way.read(answers(world, device)[-1])


def _over(world: World, device: SimDevice) -> bool:
    told = answers(world, device)
    return bool(told) and Way.read(told[-1]).over


def test_every_test_fits_into_a_devices_heap_after_the_others(world: World, site: GatewaySite) -> None:
    device = world.add_device("camera")
    site.provision(world, "camera")
    run_program(device, "tester", *TESTS)
    world.wait_until(lambda: not device.running, 90)
    assert [told[0] for told in answers(world, device)] == ["passed"] * len(TESTS), device.console_tail(30)


def test_the_way_to_the_gateway_fits_beside_tls_and_ends_in_a_signed_welcome(world: World, site: GatewaySite) -> None:
    device = world.add_device("camera")
    site.provision(world, "camera")
    way = way_of(world, device, 40)
    assert judge_broker(way)[0] == judge_gateway(way, None)[0] == "passed"
    assert way.tls


def test_a_device_that_has_lost_its_keys_does_not_set_out(world: World, site: GatewaySite) -> None:
    device = world.add_device("camera")
    site.provision(world, "camera")
    device.sectors.load(b"\xff" * len(device.sectors.image()))
    way = way_of(world, device, 5)
    assert judge_gateway(way, None)[:2] == ("failed", "out_of_service")
    assert judge_broker(way)[0] == "skipped"
