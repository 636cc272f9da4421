"""A whole tray from the box to work: flashed, provisioned and tested by the real commands, then with the gateway."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from lapel_sim.tray.device import TrayDevice
from lapel_sim.tray.kinds import PICO_W_WITH_ROM
from lapel_sim.tray.tray import Tray
from lapel_sim.world import World
from tests.scenarios.site import GatewaySite
from tests.tools.command import Lapel
from tests.tools.technician.placing import HARDWARE, place, whole_release
from tests.tools.technician.small_firmware import write_public_key
from tests.waiting import wait_until

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


class Bench:
    """What a technician has before them: the real commands, a tray, and the gateway's machine."""

    def __init__(self, bare: Lapel, folder: Path, site: GatewaySite) -> None:
        self._bare = bare
        self._folder = folder
        self._config = ("--config", site.folder / "lapel.toml")
        self._site = site

    def flash(self, hardware: str) -> None:
        """The whole firmware onto every board."""
        release, key = self._folder / "bench.lapel", self._folder / "signer.pem"
        release.write_bytes(whole_release(hardware).data)
        write_public_key(key)
        flashed = self._bare("device", "flash", "--all", "--release", release, "--signer", key, "--hardware", hardware)
        assert flashed.status == 0, flashed.out

    def provision(self, devices: Sequence[TrayDevice]) -> set[str]:
        """All of them from one file; their ids."""
        rows = [f"{device.board.serial_number},{device.name},wearer of {device.name},North" for device in devices]
        batch = self._folder / "tray.csv"
        batch.write_text("\n".join(["board,name,person,team", *rows]) + "\n")
        done = self._bare("device", "provision", "--batch", batch, *self._config, "--json")
        assert done.status == 0, done.out
        assert [row["says"] for row in done.json] == [f"boot 0 of {row['device']}" for row in done.json]
        return {row["device"] for row in done.json}

    def test(self) -> set[str]:
        """Every board, without a person; the ids of those that passed."""
        tested = self._bare("device", "selftest", "--all", "--no-questions", *self._config, "--json")
        assert tested.status == 0, tested.out
        return {row["device"] for row in tested.json}

    def heard_of(self, name: str) -> bool:
        """Whether the gateway had a hello of it."""
        return self._site.device(name)["boot"] is not None


def work(devices: Sequence[TrayDevice], ids: set[str], world: World, site: GatewaySite) -> None:
    """A clip and an alarm of each, with the gateway."""
    for device in devices:
        device.wait_shown("idle")
        record(device, world)
    world.wait_until(lambda: len([row for row in site.clips() if row["verified_ms"]]) == len(devices), 120, "clips")
    assert {row["device"] for row in site.clips()} == ids
    for device in devices:
        device.hold("ALARM", 2300)
        device.wait_shown("alarm received", timeout_s=60)
    assert {alarm["device"] for alarm in site.alarms()} == ids
    assert {alarm["team"] for alarm in site.alarms()} == {"North"}


def test_four_boards_are_flashed_provisioned_tested_and_work_with_the_gateway(
    bare: Lapel, tray: Tray, tmp_path: Path, site: GatewaySite
) -> None:
    bench = Bench(bare, tmp_path, site)
    with World(tmp_path / "world") as world:
        devices = [place(tray, world, tmp_path, name) for name in NAMES]
        bench.flash(HARDWARE)
        ids = bench.provision(devices)
        for device in devices:
            world.wait_until(lambda: bench.heard_of(device.name), 60, f"a hello of {device.name}")  # noqa: B023
        assert bench.test() == ids
        work(devices, ids, world, site)


def test_a_board_whose_heap_does_not_hold_the_firmware_executes_it_in_place_and_works_with_the_gateway(
    bare: Lapel, tray: Tray, tmp_path: Path, site: GatewaySite
) -> None:
    bench = Bench(bare, tmp_path, site)
    with World(tmp_path / "world") as world:
        device = place(tray, world, tmp_path, "camera", PICO_W_WITH_ROM)
        bench.flash("bench_rom")
        wait_until(lambda: device.console_has("runs number 7 from /rom"), 30)
        ids = bench.provision([device])
        world.wait_until(lambda: bench.heard_of("camera"), 60, "a hello")
        assert bench.test() == ids
        work([device], ids, world, site)
