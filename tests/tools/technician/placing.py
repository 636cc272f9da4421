"""Devices on the tray that carry the whole firmware, as `lapel device flash` leaves them, or are still empty."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from lapel_build.release import TARGETS, build_files, make_release, modulus_of
from lapel_protocol.releasing import Release
from lapel_sim.tray.device import TrayDevice, add_tray_device, firmware_sources
from lapel_sim.tray.kinds import PICO_W, BoardKind
from lapel_sim.tray.tray import Tray
from lapel_sim.world import World
from lapel_tools.technician.bench import Order, flash_tray
from lapel_tools.technician.ports import named_ports
from tests.tools.technician.small_firmware import signer

HARDWARE = "bench"
UNPROVISIONED = "out of service: /config.json is missing"


@cache
def whole_release(hardware: str = HARDWARE) -> Release:
    """The firmware as it is, signed by signer 0."""
    target = TARGETS[hardware]
    return make_release(target, build_files(target, firmware_sources()), 7, "0.7.0", 0, signer(0))


def place(tray: Tray, world: World, folder: Path, name: str, kind: BoardKind = PICO_W) -> TrayDevice:
    """An empty board, plugged in, with a wearer's buttons and all other hardware around it."""
    device = add_tray_device(world, name)
    tray.boards.append(device.place(folder, f"e6614c311b7c{len(tray.boards):04x}", kind))
    return device


def flash(devices: Sequence[TrayDevice]) -> None:
    """Put the firmware onto them, which they start."""
    ports = named_ports([device.board.serial_number for device in devices])
    order = Order([whole_release()], modulus_of(signer(0)), HARDWARE)
    for result in flash_tray(ports, order):
        assert result.good, result.message
