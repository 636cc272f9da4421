"""Updates over the air: real MicroPython that starts by its loader from its slots, real Mosquitto, the real gateway."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from lapel_build.release import TARGETS, build_files, device_files, make_release, modulus_of, slot_sources
from lapel_gateway.ledger.firmware_tables import device_firmware
from lapel_gateway.ledger.schema import notice
from lapel_gateway.updates import rollouts
from lapel_gateway.updates.releases import ReleaseStore
from lapel_gateway.updates.rollouts import TO_DEVICE
from lapel_protocol.releasing import Release
from lapel_sim.device import SimDevice
from lapel_sim.hardware import PICO2_W
from lapel_sim.provision import flash
from lapel_sim.world import World
from tests.firmware.releases import signer

from .site import GatewaySite, wall_ms

SIM = TARGETS["sim"]


@cache
def built(number: int, path: str = "", old: str = "", new: str = "") -> Release:
    """The firmware as it is, with one line of one file changed."""
    sources = slot_sources()
    version = f"FIRMWARE = (0, {number}, 0)".encode()
    name = "lapel_device/application.py"
    assert b"FIRMWARE = (0, 1, 0)" in sources[name]
    sources[name] = sources[name].replace(b"FIRMWARE = (0, 1, 0)", version)
    if path:
        assert old.encode() in sources[path]
        sources[path] = sources[path].replace(old.encode(), new.encode())
    return make_release(SIM, build_files(SIM, sources), number, f"0.{number}.0", 0, signer(0))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A world in which the bad version stops by its own error, and nothing else goes wrong."""
    with World(tmp_path / "world", seed=7) as made:
        yield made
        lines = [entry["line"] for entry in made.journal.entries("console")]
        troubles = [line for line in lines if "MemoryError" in line or "stopped by" in line or "Traceback" in line]
        assert set(troubles) <= {"lapel: stopped by ValueError"}
        assert not made.journal.entries("fault")


@pytest.fixture
def site(tmp_path: Path, free_port: int) -> Iterator[GatewaySite]:
    """A gateway on Mosquitto with TLS and client certificates."""
    made = GatewaySite(tmp_path / "gateway", free_port, "mosquitto")
    yield made
    made.stop()


class Updated:
    """One device that was flashed with number 1, and the gateway's knowledge of it."""

    def __init__(self, world: World, site: GatewaySite) -> None:
        self.world = world
        self.site = site
        self.device: SimDevice = world.add_device("camera", PICO2_W)
        self.name = site.provision(world, "camera", {"heartbeat_s": 5})
        flash(self.device, device_files(SIM, built(1), modulus_of(signer(0))))
        self.device.power_on()
        self.wait(lambda: self.known.get("number") == 1, "number 1")

    @property
    def known(self) -> dict[str, Any]:
        rows = self.site.rows(device_firmware)
        return rows[0] if rows else {}

    def wait(self, condition: Any, what: str, timeout_s: float = 180) -> None:
        self.world.wait_until(condition, timeout_s=timeout_s, what=what)

    def roll_out(self, made: Release) -> None:
        store = ReleaseStore(self.site.site.engine, self.site.site.config.releases_dir)
        path = self.site.folder / "made.fw"
        path.write_bytes(made.data)
        store.publish(path, modulus_of(signer(0)), "sam", wall_ms())
        rollouts.begin(self.site.site.engine, store.find(made.name), TO_DEVICE, self.name, "sam", wall_ms())

    def says(self, step: str, number: int) -> bool:
        known = self.known
        return bool(known["step"] == step and known["step_release"] and known["number"] == number)


@pytest.mark.needs("micropython", "mosquitto")
def test_a_device_is_updated_over_the_air_and_a_bad_version_rolls_back(world: World, site: GatewaySite) -> None:
    updated = Updated(world, site)
    device = updated.device
    assert device.console_has("runs number 1 from /a")

    updated.roll_out(built(2))
    updated.wait(lambda: updated.says("good", 2), "number 2 to be good")
    assert device.console_has("runs number 2 from /b on trial")
    assert device.boots == 2
    assert '"firmware": "0.2.0"' in site.device("camera")["status"]

    # It works, and an alarm goes its way.
    device.hold("ALARM", 2200)
    updated.wait(site.alarms, "the alarm")
    (alarm,) = site.alarms()
    site.acknowledge(alarm, "sam")
    site.resolve(alarm, "sam")
    device.wait_shown("alarm resolved")
    device.hold("RECORD", 1700)
    device.wait_shown("recording stopped")

    updated.roll_out(built(3, "lapel_device/runtime.py", "\ndef run(", "\nraise ValueError\n\n\ndef run("))
    updated.wait(lambda: updated.says("rolled_back", 2), "number 3 to be rolled back")
    assert device.boots == 6
    assert [row["kind"] for row in site.rows(notice)].count("update_failed") == 1
    device.hold("ALARM", 2200)
    updated.wait(lambda: len(site.alarms()) == 2, "the alarm of the version before")


@pytest.mark.needs("micropython", "mosquitto")
def test_an_update_whose_power_is_cut_again_and_again_ends_in_the_new_version(world: World, site: GatewaySite) -> None:
    updated = Updated(world, site)
    device = updated.device
    device.wait_quiet()
    updated.roll_out(built(2))
    for after in (15, 60, 120):
        device.cut_power_at("block_write", after)
        device.wait_off(60)
        device.power_on()
    updated.wait(lambda: updated.says("good", 2), "number 2 to be good")
    assert device.console_has("runs number 2 from /b on trial")
