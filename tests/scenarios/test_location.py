"""Location on the real MicroPython: from the receiver's sentences to the gateway, in an alarm and at no other time."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lapel_gateway.custody import events as journal
from lapel_protocol.report_decoders import decode_location
from lapel_protocol.reports import Location
from lapel_sim.world import World

from .site import GatewaySite

PLACE = (51.4779, -0.0015)


@pytest.fixture
def site(tmp_path: Path, free_port: int) -> Iterator[GatewaySite]:
    """A gateway on the embedded broker."""
    made = GatewaySite(tmp_path / "gateway", free_port)
    yield made
    made.stop()


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[Location]:
    """The locations that the gateway reads."""
    found: list[Location] = []

    def read(payload: bytes) -> Location:
        found.append(decode_location(payload))
        return found[-1]

    monkeypatch.setattr(journal, "decode_location", read)
    return found


def test_the_place_of_an_alarm_is_told_until_it_is_resolved(
    world: World, site: GatewaySite, heard: list[Location]
) -> None:
    device = world.add_device("camera", "pico_w")
    site.provision(world, "camera")
    device.gnss.position = PLACE
    device.power_on()
    device.wait_shown("idle")
    world.wait_until(lambda: site.device("camera")["boot"] is not None, what="a hello")
    assert (device.gnss.starts, device.gnss.reads) == (0, 0)
    device.hold("ALARM", 2300)
    device.wait_shown("recording")
    world.wait_until(lambda: heard, what="a location")
    [row] = site.alarms()
    [place] = heard
    assert (place.alarm_boot, place.alarm_counter, place.visit) == (row["boot"], row["counter"], 0)
    assert abs(place.latitude - PLACE[0] * 1e7) < 3
    assert abs(place.longitude - PLACE[1] * 1e7) < 3
    assert device.gnss.on
    site.resolve(row, "ada")
    device.wait_shown("alarm resolved")
    world.wait_until(lambda: not device.gnss.on, what="the receiver to be off")
    assert device.gnss.starts == 1
