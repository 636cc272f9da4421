"""A visit between the real firmware and the real gateway: planned at a desk, begun and ended by its wearer."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lapel_gateway.ledger.visit_tables import position, visit, visit_log
from lapel_gateway.settings.visits import VisitsSection
from lapel_gateway.visits import plans
from lapel_gateway.visits.plans import Wanted
from lapel_sim.device import SimDevice
from lapel_sim.hardware import PICO_W
from lapel_sim.world import World

from .site import GatewaySite, wall_ms

PLACE = (51.4779, -0.0015)
RULES = VisitsSection()
WAIT_S = 90.0


@pytest.fixture
def site(tmp_path: Path, free_port: int) -> Iterator[GatewaySite]:
    """A gateway on the embedded broker."""
    made = GatewaySite(tmp_path / "gateway", free_port)
    yield made
    made.stop()


def only(site: GatewaySite) -> dict[str, Any]:
    [row] = site.rows(visit)
    return row


def steps(site: GatewaySite) -> list[tuple[str, str]]:
    return [(row["step"], row["who"]) for row in site.rows(visit_log)]


def short_visit(world: World, site: GatewaySite) -> SimDevice:
    """A device whose wearer has a visit of a minute planned, and which knows of it."""
    device = world.add_device("camera", PICO_W)
    site.provision(world, "camera")
    device.gnss.position = PLACE
    device.power_on()
    device.wait_shown("idle")
    world.wait_until(lambda: site.device("camera")["boot"] is not None, what="a hello")
    now_ms = wall_ms()
    wanted = Wanted(
        "wearer of camera", "4 High Street", "a boiler", buddy="Ann", expected_min=1, planned_ms=now_ms + 60_000
    )
    plans.plan(site.site.engine, wanted, "Ann", now_ms, RULES)
    world.wait_until(lambda: not only(site)["untold"], WAIT_S, "the device to be told of the plan")
    return device


def test_a_planned_visit_is_begun_checked_into_and_ended_by_its_wearers_presses(
    world: World, site: GatewaySite
) -> None:
    device = short_visit(world, site)
    assert device.gnss.starts == 0, "a plan is no visit"

    device.press("RECORD", 2)
    world.wait_until(lambda: only(site)["state"] == "active", WAIT_S, "the start at the gateway")
    world.wait_until(lambda: site.rows(position), WAIT_S, "a position")
    assert {row["visit"] for row in site.rows(position)} == {only(site)["id"]}
    assert abs(site.rows(position)[0]["latitude_e7"] - PLACE[0] * 1e7) < 3

    device.wait_shown("visit amber", WAIT_S)
    assert only(site)["state"] == "amber"
    device.press("RECORD", 2)
    world.wait_until(lambda: ("checked in", "device") in steps(site), WAIT_S, "the check-in at the gateway")
    assert only(site)["state"] == "active"

    device.wait_shown("visit noted")
    world.wait_until(lambda: not device.shows("visit noted", 500), WAIT_S, "the answer to the check-in to be over")
    device.hold("RECORD", 120, 1700)
    world.wait_until(lambda: only(site)["state"] == "ended", WAIT_S, "the end at the gateway")
    world.wait_until(lambda: not device.gnss.on, WAIT_S, "the receiver to be off")
    told = ["planned", "started", "ended"]
    assert [step for step, _ in steps(site) if step in told] == told
    assert site.alarms() == []


def test_a_wearer_extends_by_three_presses_and_the_amber_is_taken_back(world: World, site: GatewaySite) -> None:
    device = short_visit(world, site)
    device.press("RECORD", 2)
    world.wait_until(lambda: only(site)["state"] == "active", WAIT_S, "the start at the gateway")
    device.wait_shown("visit amber", WAIT_S)
    before = only(site)

    device.press("RECORD", 3)
    device.wait_shown("visit extended")
    world.wait_until(lambda: ("extended", "device") in steps(site), WAIT_S, "the extension at the gateway")
    after = only(site)
    assert after["state"] == "active"
    assert after["due_ms"] - before["due_ms"] >= RULES.default_extend_min * 60_000
    assert [step for step, who in steps(site) if who == "device"] == ["started", "checked in", "extended"]
    world.wait_until(lambda: not only(site)["untold"], WAIT_S, "the device to be told of the new end")
    world.wait_until(lambda: not device.shows("visit amber", 3000), WAIT_S, "the amber to be taken back")
    assert device.shows("in a visit")
    assert site.alarms() == []
