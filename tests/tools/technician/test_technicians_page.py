"""The technicians' page, followed to the letter: every command of its sections on boards and firmware is run."""

import re
import shlex
from pathlib import Path

import pytest

from lapel_sim.tray.kinds import ESP32S3, PICO2_W
from lapel_tools.device_commands import BENCH_COMMANDS
from tests.tools.technician.base_images import RP2350_FAMILY, esp, uf2
from tests.tools.technician.conftest import Bench
from tests.tools.technician.small_firmware import carries, release

pytestmark = pytest.mark.needs("micropython")

PAGE = Path(__file__).parents[3] / "docs" / "technicians.md"


def commands(word: str) -> list[str]:
    """The page's commands with this word in them, as they are to be typed."""
    return [line for line in re.findall(r"^    \$ (lapel device .*)$", PAGE.read_text(), re.MULTILINE) if word in line]


def typed(bench: Bench, command: str, **places: str) -> None:
    """Run one, with the page's examples of places replaced by those of this bench."""
    for example, here in places.items():
        command = command.replace({"drive": "/media/$USER/RP2350", "port": "/dev/ttyACM0"}[example], here)
    done = bench.lapel(*shlex.split(command)[1:])
    assert done.status == 0, (command, done.err, done.out)


def test_the_page_brings_a_board_from_its_box_to_its_firmware(bench: Bench) -> None:
    for name, content in (("RPI_PICO2_W.uf2", uf2(RP2350_FAMILY)), ("firmware.bin", esp())):
        bench.file(name, content)
    bench.file("lapel-pico2_w-0.4.0.fw", release(1).data)
    bench.signer.rename(bench.folder / "firmware.key")
    [look] = commands("ports")
    [pico, chip] = commands("--image")
    [firmware] = commands("--release")
    first, second = bench.tray.add(PICO2_W), bench.tray.add(ESP32S3)
    drive, rom = bench.tray.hold_bootsel(first), bench.tray.hold_boot(second)
    typed(bench, look)
    typed(bench, pico, drive=str(drive.folder))
    typed(bench, chip, port=rom.port)
    # The simulated boards run code of their own kind, so they are told what they are.
    typed(bench, f"{firmware} --hardware tray")
    typed(bench, look)
    for board in (first, second):
        board.unplug()
        assert carries(board, 1)


def test_the_page_names_every_command_of_the_bench() -> None:
    text = PAGE.read_text()
    assert [name for name in BENCH_COMMANDS if f"lapel device {name}" not in text] == []
