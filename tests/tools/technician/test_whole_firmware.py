"""The real firmware, put onto boards of the tray by the real commands, works there with the hardware around it."""

import shutil

import pytest

from lapel_build.release import modulus_of
from lapel_sim.world import World
from lapel_tools.technician.bench import BROKEN, FLASHED, UNCHANGED, Order, flash_board
from lapel_tools.technician.ports import named_ports
from tests.tools.technician.conftest import Bench
from tests.tools.technician.small_firmware import signer
from tests.tools.technician.working_devices import place, whole_release
from tests.waiting import wait_until

pytestmark = pytest.mark.needs("micropython")

_RUNS = b"lapel: runs number 7 from"
_NOTHING_YET = b"flash this device"
_BARE = b'Type "help()"'
PLACES = (0.02, 0.35, 0.8, 0.99)
"""Parts of the whole flash after which the cable breaks."""


def test_four_devices_are_flashed_side_by_side_and_then_answer_their_buttons(bench: Bench, world: World) -> None:
    devices = [place(bench, world, f"camera {number}") for number in range(4)]
    release = bench.file("whole.lapel", whole_release().data)
    order = ("--release", release, "--signer", bench.signer, "--hardware", "tray")
    done = bench.lapel("device", "flash", "--all", *order, "--json")
    assert done.status == 0, done.err
    assert [(row["state"], row["after"]) for row in done.json] == [("flashed", "0.7.0 (7)")] * 4
    for device in devices:
        device.wait_shown("idle")
        device.press("RECORD")
        device.wait_shown("notice")


def test_a_cable_that_breaks_on_the_way_of_the_whole_firmware_is_mended_by_flashing_again(
    bench: Bench, world: World
) -> None:
    device = place(bench, world, "camera")
    board = device.board
    order = Order([whole_release()], modulus_of(signer(0)), "tray")

    def flash() -> str:
        (port,) = named_ports([board.serial_number])
        return flash_board(port, order).state

    board.unplug()
    empty = bench.folder / "empty.flash"
    shutil.copy(board.flash, empty)
    board.plug()
    before = board.cable.counts
    assert flash() == FLASHED
    total = board.cable.counts[True] - before[True]
    for part in PLACES:
        board.unplug()
        shutil.copy(empty, board.flash)
        board.plug()
        board.cable.break_at(int(total * part), towards_board=True, takes_power=True)
        assert flash() in (BROKEN, FLASHED)
        at = len(board.said)
        board.plug()
        wait_until(lambda: any(word in board.said[at:] for word in (_RUNS, _NOTHING_YET, _BARE)), 60)  # noqa: B023
        assert flash() in (FLASHED, UNCHANGED)
        board.unplug()
        files = board.files()
        folder = "/a" if "/a/manifest" in files else "/b"
        assert {path: files.get(f"{folder}/{path}") for path in whole_release().files} == whole_release().files
        assert files[f"{folder}/manifest"] == whole_release().signed_manifest
        board.plug()
        device.wait_shown("idle")
