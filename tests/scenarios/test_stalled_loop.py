"""A hold of ALARM that the device's loop has no chance to see: a Pico W stands still in its TLS handshake meanwhile."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lapel_protocol.reports import ALARM_PANIC
from lapel_sim.hosttime import host_ms
from lapel_sim.panel import ALARM
from lapel_sim.world import World

from .conftest import assert_sound
from .site import GatewaySite

HELD_S = 2.2


@pytest.fixture
def site(tmp_path: Path, free_port: int) -> Iterator[GatewaySite]:
    """A gateway on Mosquitto with TLS and client certificates."""
    made = GatewaySite(tmp_path / "gateway", free_port, "mosquitto")
    yield made
    made.stop()


@pytest.fixture
def slow_world(tmp_path: Path) -> Iterator[World]:
    """A world whose devices are as slow as the boards that they stand for."""
    with World(tmp_path / "world", seed=7, cost_scale=1.0) as made:
        yield made
        assert_sound(made)


def test_a_hold_that_begins_and_ends_within_one_handshake_raises_its_alarm(
    slow_world: World, site: GatewaySite
) -> None:
    world = slow_world
    device = world.add_device("camera", "pico_w")
    site.provision(world, "camera")
    device.power_on()
    device.wait_shown("idle", timeout_s=60)
    world.wait_until(lambda: site.device("camera")["boot"] is not None, timeout_s=60, what="a hello")
    device.link.drop(silent=False)
    world.wait_until(lambda: device.console_has("connection lost"), what="the link to be lost")
    device.link.restore()
    pushed_ms = host_ms()
    device.buttons.set(ALARM)
    looked = device.buttons.looks
    world.wait_until(lambda: host_ms() - pushed_ms >= HELD_S * 1000, what="the hold to be over")
    device.buttons.set(0)
    seen = device.buttons.looks - looked
    world.wait_until(lambda: site.alarms(), what="the alarm at the gateway")
    device.wait_shown("alarm received")
    assert seen < 40, "the loop stood still, or this test shows nothing"
    [row] = site.alarms()
    assert row["kind"] == ALARM_PANIC
    [connected, *_] = [e for e in world.journal.entries("link_open") if e["at_ms"] >= pushed_ms]
    assert connected["at_ms"] - pushed_ms < 1000, "the push began it, not the alarm"
