"""A board whose heap does not hold the firmware executes it from a ROM partition, which the same command writes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lapel_build.release import TARGETS, Target, build_files, make_release, modulus_of, rom_of
from lapel_protocol.releasing import Release
from lapel_sim.tray.board import TrayBoard
from lapel_sim.tray.kinds import PICO_W_WITH_ROM
from lapel_sim.tray.tray import Tray
from lapel_tools.technician.bench import FLASHED, REFUSED, UNCHANGED, Order, Result, flash_board
from lapel_tools.technician.firmware import FirmwareError, choose
from lapel_tools.technician.flash import rom_blocks
from lapel_tools.technician.ports import ROM_BLOCK_BYTES, BoardFacts, look, named_ports
from tests.tools.technician.placing import whole_release
from tests.tools.technician.small_firmware import carries, order, signer
from tests.waiting import wait_until

HARDWARE = "bench_rom"
DOCUMENTED_BYTES = 256 << 10
"""The partition that docs/technicians.md has an image built with."""

on_a_tray = pytest.mark.needs("micropython")


def large(number: int) -> Release:
    """A release of many blocks, of which two differ in a few."""
    small = order(number, hardware=HARDWARE).releases[0]
    target = TARGETS[HARDWARE]
    table = build_files(target, {"lapel_device/table.py": b"TABLE = b'" + b"x" * 60_000 + b"'\n"})
    return make_release(target, {**small.files, **table}, number, f"0.{number}.0", 0, signer(0))


def flash(board: TrayBoard, what: Order) -> Result:
    (port,) = named_ports([board.serial_number])
    return flash_board(port, what)


@on_a_tray
def test_only_blocks_that_differ_are_written_and_nothing_where_none_does(tray: Tray) -> None:
    board = tray.add(PICO_W_WITH_ROM)
    first = flash(board, order(1, hardware=HARDWARE))
    assert (first.state, first.message) == (FLASHED, "lapel: runs number 1 from /rom")
    assert flash(board, order(1, hardware=HARDWARE)).state == UNCHANGED
    second = flash(board, order(2, hardware=HARDWARE))
    assert (second.state, second.before, second.after) == (FLASHED, "0.1.0 (1)", "0.2.0 (2)")
    (found,) = look(named_ports([board.serial_number]), interrupt=True)
    assert found.board is not None
    assert (found.board.slots, found.board.rom_bytes) == ({"/rom": "0.2.0 (2)"}, PICO_W_WITH_ROM.rom_bytes)
    board.unplug()
    assert carries(board, 2)


@on_a_tray
def test_of_many_blocks_those_that_differ_and_the_first_are_written(tray: Tray) -> None:
    board = tray.add(PICO_W_WITH_ROM)
    first, second = large(1), large(2)
    flash(board, Order([first], modulus_of(signer(0)), HARDWARE))
    done = flash(board, Order([second], modulus_of(signer(0)), HARDWARE))
    blocks = list(zip(rom_blocks(rom_of(first)), rom_blocks(rom_of(second)), strict=True))
    changed = [number for number, (old, new) in enumerate(blocks) if number == 0 or old != new]
    assert 2 <= len(changed) <= len(blocks) // 2
    assert done.size_bytes == len(changed) * ROM_BLOCK_BYTES
    board.unplug()
    assert board.flash.read_bytes().startswith(rom_of(second))


@on_a_tray
@pytest.mark.parametrize("at", [2, 700, -40])
def test_a_partition_that_was_changed_anywhere_is_not_run_and_is_mended_by_flashing_again(tray: Tray, at: int) -> None:
    board = tray.add(PICO_W_WITH_ROM)
    made = order(1, hardware=HARDWARE)
    flash(board, made)
    board.unplug()
    image = bytearray(board.flash.read_bytes())
    image[at % len(rom_of(made.releases[0]))] ^= 1
    board.flash.write_bytes(image)
    began = len(board.said)
    board.plug()
    wait_until(lambda: b"lapel: no firmware" in board.said[began:], 20)
    assert flash(board, made).message == "lapel: runs number 1 from /rom"


@on_a_tray
def test_a_release_that_a_partition_does_not_hold_is_refused_before_anything_is_written(tray: Tray) -> None:
    board = tray.add(replace(PICO_W_WITH_ROM, rom_bytes=16 << 10))
    refused = flash(board, Order([whole_release(HARDWARE)], modulus_of(signer(0)), HARDWARE))
    assert refused.state == REFUSED
    assert "the ROM partition of this MicroPython holds 16 KiB" in refused.message
    board.unplug()
    assert board.files() == {}


def facts_of(target: Target, rom_bytes: int) -> BoardFacts:
    mpy, sub, march = target.code
    code = mpy | (sub | march << 2) << 8
    return BoardFacts("Raspberry Pi Pico W with RP2040", "1.28.0", code, "", target.hardware, {}, "", rom_bytes)


@pytest.mark.parametrize("hardware", ["pico_w", "fob_pico_w"])
def test_a_pico_w_takes_the_firmware_only_into_a_partition_which_the_documented_one_holds(hardware: str) -> None:
    target = TARGETS[hardware]
    made = make_release(target, build_files(target), 7, "0.7.0", 0, signer(0))
    with pytest.raises(FirmwareError, match="Give the board a MicroPython with a ROM partition"):
        choose([made], facts_of(target, 0), hardware, modulus_of(signer(0)))
    chosen = choose([made], facts_of(target, DOCUMENTED_BYTES), hardware, modulus_of(signer(0)))
    assert chosen.in_rom
    assert len(chosen.rom) <= DOCUMENTED_BYTES * 3 // 4  # and room for years
    small = facts_of(target, len(chosen.rom) - 1)
    with pytest.raises(FirmwareError, match="this release needs"):
        choose([made], small, hardware, modulus_of(signer(0)))
