"""What the firmware does on the chip itself: an RP2040's instructions, its flash, its peripherals, MicroPython's port.

Every wait is as long as an emulated chip on a busy machine may need; nothing here depends on how long it takes.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from lapel_sim.emulated.board import EmulatedPico
from lapel_sim.emulated.parts import STILL_MG
from lapel_tools.technician.link import BoardLink
from lapel_tools.technician.literals import literal
from lapel_tools.technician.ports import read_facts
from tests.emulated.chip_firmware import WORKS, small_release, whole_firmware, whole_firmware_in_place
from tests.emulated.conftest import BOARD
from tests.tools.command import Lapel
from tests.tools.technician.small_firmware import write_public_key

pytestmark = [pytest.mark.ring("tools")]

UP_S = 300.0
START_S = 1800.0

_FED = "class _W:\n def feed(self):\n  if _w:_w.feed()\nclass _B:\n watchdog=_W()\n"
_SLOT = "import sys\nsys.path.insert(0,'/a')\n"
_CRYPTOGRAPHY = (
    _SLOT
    + _FED
    + """\
from lapel_device.boards import self_test
from lapel_device.boards.self_test import basics
self_test.run(basics.cryptography,_B())"""
)
_SECTORS = (
    _SLOT
    + """\
from lapel_device.boards.key_sectors import reserved_sectors
s=reserved_sectors('rp2040')
s.erase(1)
s.program(1,256,b'\\x5a'*256)
b=bytearray(512)
s.read(1,0,b)
print('='+repr(bytes(b)))"""
)
_PARTS = (
    _SLOT
    + """\
from machine import ADC,I2C,Pin
from lapel_device.boards.fob_pico_w import BOARD,PINS
from lapel_device.boards.battery_adc import AdcBattery
from lapel_device.boards.pixel_light import PixelLight
from lapel_device.boards.lis3dh import Lis3dh
a=AdcBattery(ADC(Pin(PINS['battery'][0])),3300,BOARD['battery_divider'],BOARD['battery_minutes'])
a.read()
PixelLight(Pin(PINS['light'][0],Pin.OUT)).show(0xff0000)
i=Lis3dh(I2C(0,scl=Pin(PINS['motion_scl'][0]),sda=Pin(PINS['motion_sda'][0]),freq=400000))
i.start()
import time
n=0
for _ in range(50):
 time.sleep_ms(40)
 n=i.read()
 if n:break
t=Pin(PINS['tamper'][0],Pin.IN,Pin.PULL_UP)
r=Pin(PINS['record_button'][0],Pin.IN,Pin.PULL_UP)
print('='+repr((a.millivolts,tuple(i.samples[:3]),t.value(),r.value())))"""
)

_WHOLE = """\
import gc,sys
gc.collect()
a=gc.mem_alloc()
sys.path.insert(0,'SLOT')
import lapel_device.runtime
for n in ('battery_adc','bearers','buttons','gnss_uart','indicator','key_sectors','lis3dh','machine_clock',
 'machine_watchdog','no_parts','pixel_light','vfs','wifi','wifi_networks'):
 __import__('lapel_device.boards.'+n)
 if _w:_w.feed()
gc.collect()
print('='+repr((gc.mem_alloc()-a,gc.mem_free())))"""
_MOST_CODE_BYTES = 135_000
_MOST_IN_PLACE_BYTES = 67_500
"""What docs/updates.md says of a fob's code, without what imports `socket`, which an image without a radio lacks; and
the most of it that remains in place."""


def up(pico: EmulatedPico) -> BoardLink:
    """The board on its port, stopped, its heap fresh."""
    pico.wait_until(lambda: pico.port != "", UP_S, "port")
    link = BoardLink(pico.port)
    link.stop(fresh=True)
    return link


def test_an_empty_board_is_flashed_by_the_real_command_and_its_loader_verifies_and_runs_what_was_signed(
    pico: EmulatedPico, bare: Lapel, tmp_path: Path
) -> None:
    release, key = tmp_path / "fob.lapel", tmp_path / "signer.pem"
    release.write_bytes(small_release().data)
    write_public_key(key)
    with pico:
        pico.wait_until(lambda: pico.port != "", UP_S, "port")
        done = bare(
            "device", "flash", "--release", release, "--signer", key, "--hardware", BOARD, pico.serial_number, "--json"
        )
        assert done.status == 0, done.out + done.err
        [row] = done.json
        in_rom = row["message"] == "lapel: runs number 1 from /rom"
        assert in_rom or row["message"] == "lapel: runs number 1 from /a"
        pico.wait_said(WORKS, START_S)
    files = pico.files()
    in_slot = {path for path in files if path.startswith("/a/")}
    assert not in_slot if in_rom else in_slot >= {"/a/manifest", "/a/lapel_device/runtime.mpy"}
    assert "/update.key" in files


def answer(link: BoardLink, code: str) -> Any:
    """The literal that the board marks as its answer; a self-test says beside it that it goes on."""
    [told] = [line[1:] for line in link.run(code).decode().splitlines() if line.startswith("=")]
    return literal(told)


def test_the_firmwares_native_code_gives_the_known_answers_at_every_length_and_alignment(pico: EmulatedPico) -> None:
    pico.put_files(whole_firmware())
    with pico, up(pico) as link:
        outcome, fault, found = answer(link, _CRYPTOGRAPHY)
    assert (outcome, fault) == ("passed", ""), found


def test_the_boards_own_drivers_work_on_the_chips_flash_converter_buses_and_pins(pico: EmulatedPico) -> None:
    pico.put_files(whole_firmware())
    with pico, up(pico) as link:
        assert answer(link, _SECTORS) == b"\xff" * 256 + b"\x5a" * 256
        link.stop(fresh=True)
        millivolts, felt, case_open, record_up = answer(link, _PARTS)
        assert abs(millivolts - 3900) < 50
        assert felt == STILL_MG
        assert (case_open, record_up) == (0, 1)
        assert any(red > 0 and green == blue == 0 for red, green, blue in pico.colours)
    assert {"/keys.0", "/keys.1", "/keys.map"} <= set(pico.files())


def test_the_whole_firmware_loaded_from_a_slot_takes_no_more_of_the_chips_heap_than_the_documentation_says(
    pico: EmulatedPico,
) -> None:
    pico.put_files(whole_firmware())
    with pico, up(pico) as link:
        taken, left = answer(link, _WHOLE.replace("SLOT", "/a"))
    sys.stdout.write(f"{taken} bytes of heap taken, {left} left\n")
    assert taken <= _MOST_CODE_BYTES, f"{taken} bytes taken, {left} left"


def test_the_whole_firmware_executed_in_place_leaves_the_heap_to_its_work(pico: EmulatedPico) -> None:
    with pico, up(pico) as link:
        rom_bytes = read_facts(link).rom_bytes
    if not rom_bytes:
        pytest.skip("this image has no ROM partition, as official ones have none")
    files, rom = whole_firmware_in_place()
    pico.put_files(files, rom, rom_bytes)
    with pico, up(pico) as link:
        taken, left = answer(link, _WHOLE.replace("SLOT", "/rom"))
    sys.stdout.write(f"{taken} bytes of heap taken in place, {left} left\n")
    assert taken <= _MOST_IN_PLACE_BYTES, f"{taken} bytes taken, {left} left"
