"""A whole tray from the box to work: flashed, provisioned and tested by the real commands, then with the gateway."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lapel_sim.tray.device import TrayDevice
from lapel_sim.tray.tray import Tray
from lapel_sim.world import World
from tests.scenarios.site import GatewaySite
from tests.tools.command import Lapel
from tests.tools.technician.placing import HARDWARE, place, whole_release
from tests.tools.technician.small_firmware import write_public_key

pytestmark = pytest.mark.needs("micropython", "mosquitto")

NAMES = [f"camera {number}" for number in range(1, 5)]


@pytest.fixture
def site(tmp_path: Path, free_port: int) -> Iterator[GatewaySite]:
    made = GatewaySite(tmp_path / "gateway", free_port, "mosquitto")
    yield made
    made.stop()


def record(device: TrayDevice, world: World) -> None:
    """As a wearer does it: notice, told, recording, and the end."""
    device.press("RECORD")
    device.wait_shown("notice")
    device.press("RECORD")
    device.wait_shown("recording")
    world.wait_until(lambda: len(device.frames()) >= 3, what="frames")
    device.hold("RECORD", 1700)
    device.wait_shown("recording stopped")


def test_four_boards_are_flashed_provisioned_tested_and_work_with_the_gateway(
    bare: Lapel, tray: Tray, tmp_path: Path, site: GatewaySite
) -> None:
    with World(tmp_path / "world") as world:
        devices = [place(tray, world, tmp_path, name) for name in NAMES]
        release, key = tmp_path / "bench.lapel", tmp_path / "signer.pem"
        release.write_bytes(whole_release().data)
        write_public_key(key)
        flashed = bare("device", "flash", "--all", "--release", release, "--signer", key, "--hardware", HARDWARE)
        assert flashed.status == 0, flashed.out
        rows = [f"{device.board.serial_number},{device.name},wearer of {device.name},North" for device in devices]
        batch = tmp_path / "tray.csv"
        batch.write_text("\n".join(["board,name,person,team", *rows]) + "\n")
        done = bare("device", "provision", "--batch", batch, "--config", site.folder / "lapel.toml", "--json")
        assert done.status == 0, done.out
        assert [row["says"] for row in done.json] == [f"boot 0 of {row['device']}" for row in done.json]

        def heard_of(name: str) -> bool:
            return site.device(name)["boot"] is not None

        for device in devices:
            world.wait_until(lambda: heard_of(device.name), 60, f"a hello of {device.name}")  # noqa: B023
        config = ("--config", site.folder / "lapel.toml")
        tested = bare("device", "selftest", "--all", "--no-questions", *config, "--json")
        assert tested.status == 0, tested.out
        assert {row["device"] for row in tested.json} == {row["device"] for row in done.json}
        for device in devices:
            device.wait_shown("idle")
            record(device, world)
        world.wait_until(
            lambda: len([row for row in site.clips() if row["verified_ms"]]) == len(devices), 120, "four clips"
        )
        assert {row["device"] for row in site.clips()} == {row["device"] for row in done.json}
        for device in devices:
            device.hold("ALARM", 2300)
            device.wait_shown("alarm received", timeout_s=60)
        assert {alarm["device"] for alarm in site.alarms()} == {row["device"] for row in done.json}
        assert {alarm["team"] for alarm in site.alarms()} == {"North"}
