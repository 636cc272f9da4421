"""Provisioned devices on a tray, and the whole firmware for them."""

from __future__ import annotations

from functools import cache

from lapel_build.release import build_files, make_release
from lapel_protocol.releasing import Release
from lapel_sim.package import offline_package
from lapel_sim.provision import provision
from lapel_sim.tray.device import TrayDevice, add_tray_device, firmware_sources
from lapel_sim.world import World
from tests.tools.technician.conftest import Bench
from tests.tools.technician.small_firmware import TARGET, signer


@cache
def whole_release() -> Release:
    """The real firmware as a release of signer 0, number 7."""
    return make_release(TARGET, build_files(TARGET, firmware_sources()), 7, "0.7.0", 0, signer(0))


def place(bench: Bench, world: World, name: str) -> TrayDevice:
    """A provisioned device on the tray whose flash is empty."""
    device = add_tray_device(world, name)
    provision(device, offline_package(bench.folder / f"package of {name}").folder)
    bench.tray.boards.append(device.place(bench.folder, f"e6614c311b7b{len(bench.tray.boards):04x}"))
    return device


def working(bench: Bench, world: World, name: str) -> TrayDevice:
    """A provisioned device that runs the whole firmware."""
    device = place(bench, world, name)
    release = bench.file("whole.lapel", whole_release().data)
    order = ("--release", release, "--signer", bench.signer, "--hardware", "tray")
    done = bench.lapel("device", "flash", *order, device.board.serial_number)
    assert done.status == 0, done.out
    device.wait_shown("idle")
    return device
