"""Man-down on the real MicroPython: the chip's driver, the warning, and the alarm at a real gateway."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lapel_protocol.reports import ALARM_MAN_DOWN
from lapel_sim.device import SimDevice
from lapel_sim.world import World

from .site import GatewaySite

WARNING_S = 30
SETTINGS = {"man_down": 1, "fall_still_s": 5}


@pytest.fixture
def site(tmp_path: Path, free_port: int) -> Iterator[GatewaySite]:
    """A gateway on the embedded broker."""
    made = GatewaySite(tmp_path / "gateway", free_port)
    yield made
    made.stop()


def worn(world: World, site: GatewaySite) -> SimDevice:
    """A device that watches its wearer, who walks."""
    device = world.add_device("camera", "pico_w")
    site.provision(world, "camera", SETTINGS)
    device.power_on()
    device.wait_shown("idle")
    world.wait_until(lambda: device.accelerometer.period_us, what="the accelerometer to be started")
    device.move()
    world.wait_until(lambda: site.device("camera")["boot"] is not None, what="a hello")
    return device


def test_a_fall_that_nobody_answers_for_is_an_alarm_at_the_gateway(world: World, site: GatewaySite) -> None:
    device = worn(world, site)
    device.fall()
    device.wait_shown("man-down warning")
    asked_ms = world.journal.entries("indicator", pattern="man-down warning")[0]["at_ms"]
    assert not site.alarms()
    device.wait_shown("alarm received", timeout_s=WARNING_S + 30)
    [row] = site.alarms()
    assert row["kind"] == ALARM_MAN_DOWN
    raised_ms = next(e["at_ms"] for e in world.journal.entries("indicator") if e["pattern"].startswith("alarm "))
    assert WARNING_S * 1000 - 1500 <= raised_ms - asked_ms <= WARNING_S * 1000 + 5000
    device.wait_shown("recording")


def test_a_wearer_who_presses_a_button_cancels_and_nothing_is_sent(world: World, site: GatewaySite) -> None:
    device = worn(world, site)
    device.fall()
    device.wait_shown("man-down warning")
    device.press("RECORD")
    cancelled_ms = world.journal.entries("button")[-1]["at_ms"]
    world.wait_until(
        lambda: world.journal.entries("indicator", pattern="idle")[-1]["at_ms"] > cancelled_ms + WARNING_S * 1000,
        timeout_s=WARNING_S + 30,
        what="the time of the warning to be over",
    )
    assert site.alarms() == []
    shown = {e["pattern"] for e in world.journal.entries("indicator") if e["at_ms"] > cancelled_ms + 1000}
    assert not shown & {"man-down warning", "notice", "recording", "alarm raised", "alarm sent"}
    assert not device.frames()
